//! Compiles every CUDA kernel under `src/` to a fat binary, when the feature `cuda` is on.
//!
//! The card is the one that `CUDA_COMPUTE_CAP` names (as for the tensor library), else the one in this machine. Machine code
//! is made for it, and portable code for newer ones.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs, thread};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-env-changed=CUDA_COMPUTE_CAP");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR")).join("src");
    let mut kernels = Vec::new();
    find(&root, "cu", &mut kernels);
    kernels.sort();
    let (nvcc, capability) = (nvcc(), capability());
    let queue = Mutex::new(kernels.iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(8) {
            scope.spawn(|| {
                loop {
                    let Some(kernel) = queue.lock().expect("no panics").next() else { return };
                    if let Err(message) = compile(&nvcc, &capability, &root, kernel, &out) {
                        failures.lock().expect("no panics").push(message);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panics");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn find(folder: &Path, extension: &str, kernels: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, extension, kernels);
        } else if path.extension().is_some_and(|own| own == extension) {
            kernels.push(path);
        }
    }
}

fn nvcc() -> PathBuf {
    match env::var_os("CUDA_HOME").or_else(|| env::var_os("CUDA_PATH")) {
        Some(home) => PathBuf::from(home).join("bin/nvcc"),
        None => PathBuf::from("nvcc"),
    }
}

/// The compute capability as two digits, `90` for instance.
fn capability() -> String {
    if let Ok(capability) = env::var("CUDA_COMPUTE_CAP") {
        return capability.replace('.', "");
    }
    let query = Command::new("nvidia-smi").args(["--query-gpu=compute_cap", "--format=csv,noheader"]).output();
    let answer = query.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match answer.lines().next().map(|line| line.trim().replace('.', "")) {
        Some(capability) if !capability.is_empty() => capability,
        _ => panic!("no GPU answered `nvidia-smi`; hint: set CUDA_COMPUTE_CAP, for example 90 for an H100"),
    }
}

fn compile(nvcc: &Path, capability: &str, root: &Path, kernel: &Path, out: &Path) -> Result<(), String> {
    // Hopper's own instructions exist in the architecture-specific target only.
    let real = if capability == "90" { "90a" } else { capability };
    let stem = kernel.file_stem().expect("a file").to_string_lossy();
    // What a file was compiled from: everything that its compiler read, for which card, and by which compiler.
    let compiled = out.join(format!("{stem}.fatbin"));
    let digest = out.join(format!("{stem}.digest"));
    let sources = digest_of(nvcc, real, root, kernel);
    if compiled.exists() && fs::read_to_string(&digest).is_ok_and(|known| known == sources) {
        return Ok(());
    }
    let result = Command::new(nvcc)
        .args(["-O3", "-std=c++17", "--expt-relaxed-constexpr", "-fatbin", "-Xfatbin=-compress-all"])
        .arg(format!("-gencode=arch=compute_{real},code=sm_{real}"))
        .arg(format!("-gencode=arch=compute_{capability},code=compute_{capability}"))
        .arg("-I")
        .arg(root.join("cuda"))
        .arg("-o")
        .arg(&compiled)
        .arg(kernel)
        .output()
        .map_err(|error| {
            format!("cannot run {}: {error}; hint: install the CUDA toolkit and set CUDA_HOME", nvcc.display())
        })?;
    if result.status.success() {
        return fs::write(&digest, sources).map_err(|error| format!("{}: {error}", digest.display()));
    }
    Err(format!("{} does not compile:\n{}", kernel.display(), String::from_utf8_lossy(&result.stderr)))
}

/// Of the kernel, every header, this program, the card and the place of the compiler: it decides whether a kernel is compiled again.
fn digest_of(nvcc: &Path, real: &str, root: &Path, kernel: &Path) -> String {
    let mut files = vec![PathBuf::from("build.rs"), kernel.to_owned()];
    find(root, "cuh", &mut files);
    files[2..].sort();
    let mut hasher = DefaultHasher::new();
    (nvcc, real).hash(&mut hasher);
    for file in files {
        (&file, fs::read(&file).expect("a readable source file")).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
