/// Time that one kernel took in all its launches.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Its name, or the shape of a product.
    pub kernel: String,
    /// Launches.
    pub launches: usize,
    /// Seconds in all.
    pub seconds: f64,
}

/// How the names of the kernels begin that decide a reduction and carry it out.
pub const REDUCTION_KERNELS: [&str; 25] = [
    "candidate_rows",
    "channel_top",
    "choose_",
    "chunk_ends",
    "decide_in_order",
    "earlier_ranks",
    "edge_similarity",
    "gather_tokens",
    "hidden_attention",
    "later_rows",
    "merge_",
    "newness",
    "novelty",
    "partition",
    "protect_last",
    "rank_",
    "released_pairs",
    "select_",
    "settle_",
    "sim_argmax",
    "sort_columns",
    "split_rows",
    "token_scores",
    "unit_columns",
    "write_norm",
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Names of the kernels of a file: what is declared, and the first argument of each macro that declares some.
    fn kernels(source: &str) -> Vec<String> {
        let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.join("\n");
        let name = |text: &str| {
            text.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned()
        };
        let declared = code.split("__global__ void").skip(1).map(|text| {
            match text.trim_start().strip_prefix("__launch_bounds__") {
                Some(bounds) => name(bounds.split_once(')').map_or("", |(_, rest)| rest)),
                None => name(text),
            }
        });
        let by_macro = code.lines().filter_map(|line| {
            let (called, arguments) = line.split_once('(')?;
            let is_macro = !called.is_empty() && called.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            is_macro.then(|| name(arguments)).filter(|first| first.contains('_'))
        });
        declared.chain(by_macro).filter(|name| !name.is_empty() && name != "name").collect()
    }

    #[test]
    fn every_kernel_of_a_reduction_is_counted_as_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/reduction");
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "cu") {
                for kernel in kernels(&fs::read_to_string(&path).unwrap()) {
                    let known = REDUCTION_KERNELS.iter().any(|start| kernel.starts_with(start));
                    assert!(known, "{}: `{kernel}` begins like none of them", path.display());
                    count += 1;
                }
            }
        }
        assert!(count > 20, "{count} kernels found");
    }
}
