# None of this is needed: every recipe is a line around cargo. Install with `pipx install rust-just`.

# List the recipes
default:
    @just --list

# Run an experiment, analyse and report it; finished cells are not run again
sweep FILE *ARGS:
    cargo run --release --bin sweep -- run {{FILE}} {{ARGS}}

# Show what an experiment amounts to; loads no model
plan FILE *ARGS:
    cargo run --release --bin sweep -- plan {{FILE}} {{ARGS}}

# Analyse a results folder again, draw its figures and write its tables
report FOLDER *ARGS:
    cargo run --release --bin sweep -- report {{FOLDER}} {{ARGS}}

# Run the smallest sweep that touches every protocol
smoke:
    cargo run --release --bin sweep -- run experiments/smoke.yaml

# Time the analysis of a large fake experiment
time-analysis:
    cargo run --release --package sweep-runner --example time_analysis

# Run all tests
test:
    cargo test --release --workspace

# Check the format and run clippy
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings

# Build the API documentation
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --workspace

# Everything that must hold before a change lands
ci:
    bash .ci/run

# Run the shipped ablation and put its figure and tables into README.md and docs/findings.md
findings:
    cargo run --release --bin sweep -- run experiments/ablation.yaml
    cargo run --release --bin sweep -- report results/ablation --splice README.md
    cargo run --release --bin sweep -- report results/ablation --splice docs/findings.md
    cp results/ablation/figures/accuracy_vs_flops_mamba2-world_context.svg docs/figures/ablation-mamba2-context.svg
    cp results/ablation/figures/protocol_comparison_20.svg docs/figures/ablation-protocols.svg
