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
    cargo run --release --package analysis --example time_analysis

# Time what the host does per token and site besides the model
time-sites:
    cargo run --release --package reduction-strategies --example time_sites

# Run all tests
test:
    cargo test --release --workspace

# Build the wheel, install it in target/venv, and check and test the Python package, notebooks included
test-python *ARGS:
    tools/python/test.sh {{ARGS}}

# Test report.html in headless Chromium, with the smoke sweep or a results folder
test-page *ARGS:
    tools/page/test.sh {{ARGS}}

# Build a paper of two pages from a results folder: `just paper results/smoke acl target/paper`
paper RESULTS PAPER OUT *SELECT:
    tools/paper/build.sh {{RESULTS}} {{PAPER}} {{OUT}} {{SELECT}}

# Put figures, drawn with `sweep report --paper acl`, side by side at the size of print (needs Python 3, rsvg-convert and the font Liberation Sans)
contact-sheet *FIGURES:
    tools/figures/contact-sheet.py target/contact-sheet.svg {{FIGURES}}
    rsvg-convert -d 90 -p 90 target/contact-sheet.svg -o docs/figures/contact-sheet.png

# Test that a program without downloads says so; rebuilds sweep-runner
test-without-hub:
    cargo test --release --package sweep-runner --no-default-features --lib library

# Kill a sweep at fifty random moments and compare its frames with those of an undisturbed one; some minutes
test-survival:
    cargo test --release --workspace --test command survival -- --ignored --nocapture

# Compare the benchmarks with what lm-evaluation-harness makes of them; SWEEP_DATA_DIR names their files; minutes on two cores
test-data:
    cargo test --release -p sweep-runner -p evaluation --test benchmark_tokens --test oracle -- --ignored

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

# Run the experiment of the README and put its figure and table there (some minutes on two cores)
readme:
    cargo run --release --bin sweep -- run experiments/readme.yaml
    cargo run --release --bin sweep -- report results/readme --splice README.md
    cp results/readme/figures/protocol_comparison_20_achieved.svg docs/figures/readme.svg

# Run the ablation over all items and put its figures and tables into docs/findings.md
findings:
    cargo run --release --bin sweep -- run experiments/ablation-full.yaml
    cargo run --release --bin sweep -- report results/ablation-full --splice docs/findings.md
    cp results/ablation-full/figures/accuracy_vs_flops_mamba2-world_context.svg docs/figures/ablation-mamba2-context.svg
    cp results/ablation-full/figures/protocol_comparison_20.svg docs/figures/ablation-protocols.svg

# Compare the models of English novels with every stored item (some minutes on two cores)
parity:
    cargo test --release --workspace --test item_parity -- --ignored

# Run the experiments over English novels on a GPU, all items, and put tables and figures into docs/findings.md
books *ARGS:
    cargo run --release --features cuda --bin sweep -- run experiments/books.yaml --limit 500 --device cuda {{ARGS}}
    cargo run --release --features cuda --bin sweep -- run experiments/books-length.yaml --device cuda {{ARGS}}
    cargo run --release --bin sweep -- report results/books --splice docs/findings.md
    cp results/books/figures/tasks_vs_flops_mamba2-books_context.svg docs/figures/books-mamba2-tasks.svg
    cp results/books/figures/tasks_vs_flops_mamba-books_context.svg docs/figures/books-mamba-tasks.svg
    cp results/books/figures/tasks_vs_flops_hybrid-books_context.svg docs/figures/books-hybrid-tasks.svg
    cp results/books-length/figures/loss_vs_length_books_long_context_achieved_20.svg docs/figures/books-length.svg

# The claims of experiments/claims, in the order of the pages
claims_world := "c01 c02 c03 c04 c05 c06 c07 c08 c09 c10"
claims_books := "c01-books c02-books c03-books c04-books c05-books c06-books c08-books c09-books c10-books c12 c13"

# Run the claims and put effects, tables and figures into docs/findings.md and docs/claims.md (on a GPU, or some hours on two cores)
claims *ARGS:
    for claim in {{claims_world}} {{claims_books}}; do cargo run --release --bin sweep -- run experiments/claims/$claim.yaml {{ARGS}}; done
    cargo run --release --bin sweep -- run experiments/fresh/recent.yaml {{ARGS}}
    for claim in {{claims_world}} {{claims_books}} recent; do cargo run --release --bin sweep -- report results/$claim --splice docs/claims.md; done
    for claim in c12 c13 recent; do cargo run --release --bin sweep -- report results/$claim --splice docs/findings.md; done
    cargo run --release --bin sweep -- report results/recent --splice docs/better-rule.md
    cargo run --release --bin sweep -- claims $(for claim in {{claims_world}}; do echo results/$claim; done) --out results/claims-world --splice docs/findings.md
    cargo run --release --bin sweep -- claims $(for claim in {{claims_books}}; do echo results/$claim; done) --out results/claims-books --splice docs/findings.md
    mkdir -p docs/figures/claims
    for claim in {{claims_world}} c02-books c12 c13; do cp results/$claim/figures/claim_effects.svg docs/figures/claims/$claim.svg; done
    for claim in c01-books c03-books c04-books c05-books c06-books c08-books c09-books c10-books recent; do cp results/$claim/figures/claim_effects_nats.svg docs/figures/claims/$claim.svg; done
    cp results/recent/figures/claim_effects_nats.svg docs/figures/recent.svg

# Walk from the described rules to the released ones, and put the bridges into docs/findings.md (minutes on a GPU, half an hour on two cores)
bridges *ARGS:
    cargo run --release --bin sweep -- run experiments/bridge.yaml {{ARGS}}
    cargo run --release --bin sweep -- report results/bridge --splice docs/findings.md
    for chain in evit utrc; do cp results/bridge/figures/bridge_$chain.svg docs/figures/bridge-$chain.svg; done

# Measure what a window of matching costs in loss, and put the table into docs/performance.md (half an hour on two cores)
match-window *ARGS:
    cargo run --release --bin sweep -- run experiments/match-window.yaml {{ARGS}}
    cargo run --release --bin sweep -- report results/match-window --splice docs/performance.md

# Ask which part of removed tokens is missed and whether gaps are to blame, and put values, tables and the figure into the pages (half an hour on two cores)
mechanism *ARGS:
    cargo run --release --bin sweep -- run experiments/mechanism.yaml {{ARGS}}
    for page in findings better-rule; do cargo run --release --bin sweep -- report results/mechanism --splice docs/$page.md; done
    cp results/mechanism/figures/probe_removed_split.svg docs/figures/mechanism.svg
    cargo run --release --bin sweep -- run experiments/gaps.yaml {{ARGS}}
    for page in findings better-rule; do cargo run --release --bin sweep -- report results/gaps --splice docs/$page.md; done

# The same on English novels and a hybrid (three minutes on 32 cores)
mechanism-books *ARGS:
    cargo run --release --bin sweep -- run experiments/mechanism-books.yaml {{ARGS}}
    for page in findings better-rule; do cargo run --release --bin sweep -- report results/mechanism-books --splice docs/$page.md; done
    cp results/mechanism-books/figures/probe_removed_split_books_lastword.svg docs/figures/mechanism-books.svg

# Compare rules over several trainings, which are expected in target/models (docs/models-and-data.md has the recipe)
seeds *ARGS:
    for name in seeds-mamba2 seeds-mamba; do cargo run --release --bin sweep -- run experiments/fresh/$name.yaml {{ARGS}}; done
    for name in seeds-mamba2 seeds-mamba; do for page in findings claims; do cargo run --release --bin sweep -- report results/$name --splice docs/$page.md; done; done
    for name in seeds-mamba2 seeds-mamba; do cp results/$name/figures/claim_effects_nats.svg docs/figures/claims/$name.svg; done

# Compare rules with a model of half the layers, which is expected in target/models (some minutes on two cores)
smaller-model *ARGS:
    cargo run --release --bin sweep -- run experiments/fresh/pareto-2k.yaml {{ARGS}}
    cargo run --release --bin sweep -- report results/pareto-2k --splice docs/findings.md

# The same against measured time on a GPU (a build with CUDA; the model of half the layers is expected in target/models), and put times and the figure into the pages
pareto *ARGS:
    cargo run --release --features cuda --bin sweep -- run experiments/fresh/pareto.yaml --repeats 5 {{ARGS}}
    for page in performance findings; do cargo run --release --bin sweep -- report results/pareto --splice docs/$page.md; done
    cp results/pareto/figures/added_loss_vs_time_mamba2-books_context.svg docs/figures/pareto-time.svg

# Compare the models of one family, look inside the hybrid, and put tables and figures into docs/findings.md (some minutes on two cores)
families *ARGS:
    for name in families hybrid-probes; do cargo run --release --bin sweep -- run experiments/$name.yaml {{ARGS}}; done
    for name in families hybrid-probes; do cargo run --release --bin sweep -- report results/$name --splice docs/findings.md; done
    cp results/hybrid-probes/figures/probe_state_divergence_necessary.svg docs/figures/hybrid-states.svg
    cp results/families/figures/added_loss_context_20_achieved.svg docs/figures/families.svg
    cp results/hybrid-probes/figures/probe_layer_kind.svg docs/figures/hybrid-layer-kind.svg

# Show the scripts of an experiment for SLURM; `sweep submit slurm FILE` submits them
submit FILE *ARGS:
    cargo run --release --bin sweep -- submit slurm {{FILE}} --dry-run {{ARGS}}

# Test submitting on a real SLURM of one node; needs root and the packages slurmctld, slurmd, slurm-client, munge
test-slurm *ARGS:
    tools/slurm/test.sh {{ARGS}}

# Fetch a CUDA compiler and link-time stand-ins, for building on a machine without GPU and toolkit
cuda-toolchain:
    tools/cuda/toolchain.sh

# Build for a GPU on a machine without one (an H100 unless CUDA_COMPUTE_CAP says otherwise)
build-cuda:
    RUSTFLAGS="-C relocation-model=static" tools/cuda/build.sh rustc --profile carry --target x86_64-unknown-linux-gnu --features cuda --package sweep-runner --bin sweep -- -C link-args=-Wl,--icf=all,--no-eh-frame-hdr,-O2,-s

# Pack sweep and the GPU tests for a machine with a GPU and no toolkit
pack-cuda:
    tools/cuda/pack.sh

# Measure the golden errors of every architecture and write their table into docs/models-and-data.md
golden-errors:
    cargo test --release --workspace --test golden_errors -- --ignored

# Run the GPU tests; needs a GPU and the toolkit
test-gpu:
    cargo test --release --features cuda --workspace --test gpu -- --ignored --test-threads 1

# Measure prefill speed on a GPU; needs a GPU and the toolkit
bench-gpu *ARGS:
    cargo run --release --features cuda --bin sweep -- bench --device cuda --random mamba2-2.7b,mamba-2.8b,mamba2-1.3b,mamba2-130m,mamba-130m --shape 16x2048,1x2048,300x40-180 --strategy utrc --out results/bench-gpu.parquet {{ARGS}}

# Measure memory and throughput the paper's ways and the honest ones on a GPU; needs a GPU and the toolkit
bench-costs *ARGS:
    cargo run --release --features cuda --bin sweep -- bench --device cuda --random mamba2-2.7b,mamba-2.8b,mamba2-1.3b --strategy utrc --shape 96x2048 --logits all-at-once,last --generate 16x2048+100,1x2048+1 --repeats 3 --out results/bench-costs.parquet {{ARGS}}

# Measure prefill speed on the CPU, beside candle-transformers' models of the same size, optimised as its users would have it
bench-cpu *ARGS:
    cargo run --release --features peer --config 'profile.release.package.candle-core.opt-level=3' --bin sweep -- bench --device cpu --peer --random mamba2-130m,mamba-130m --shape 1x512 {{ARGS}}
