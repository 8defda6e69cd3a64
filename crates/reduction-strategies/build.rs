//! Makes cargo notice a strategy file that was added or removed: `automod` reads the folder, cargo does not.

fn main() {
    println!("cargo:rerun-if-changed=src/strategies");
}
