//! The threads of this process: started once, before anything needs them, so that a number that cannot be is refused.

use std::thread;

use miette::miette;

use super::{Failure, failed, refused};

/// What sets the number of threads: of everything that computes, an older name of it, and of the frames.
const VARIABLES: [&str; 3] = ["RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS", "POLARS_MAX_THREADS"];
/// Threads per core that are still started: more than one each only gets in the way, but is nobody's loss.
const PER_CORE: usize = 4;
/// Threads that are started on any machine.
const FEWEST_ALLOWED: usize = 64;

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// As [`start`], where others of this process may have started them before.
pub(super) fn start_once() -> Result<(), Failure> {
    check(cores(), |name| std::env::var(name).ok())?;
    // There is one pool, and whoever comes first makes it.
    let _ = rayon::ThreadPoolBuilder::new().build_global();
    Ok(())
}

/// Starts them.
pub(super) fn start() -> Result<(), Failure> {
    check(cores(), |name| std::env::var(name).ok())?;
    rayon::ThreadPoolBuilder::new().build_global().map_err(|error| {
        let help = "ask for fewer with RAYON_NUM_THREADS, or raise the limit of processes (`ulimit -u`)";
        failed(miette!(help = help, "cannot start threads: {error}"))
    })
}

fn check(cores: usize, variable: impl Fn(&str) -> Option<String>) -> Result<(), Failure> {
    let most = (cores * PER_CORE).max(FEWEST_ALLOWED);
    for (name, text) in VARIABLES.iter().filter_map(|name| Some((name, variable(name)?))) {
        let help = format!("unset it for one thread on each of {cores} cores, or set it to a number up to {most}");
        match text.parse::<usize>() {
            Ok(threads) if threads <= most => {}
            Ok(threads) => {
                return Err(refused(miette!(
                    help = help,
                    "{name} asks for {threads} threads, too many for this machine"
                )));
            }
            Err(_) => return Err(refused(miette!(help = help, "{name} is `{text}`, which is no number of threads"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_are_refused_by_name() {
        let check = |name: &'static str, text: &'static str| {
            let variable = move |asked: &str| (asked == name).then(|| text.to_owned());
            check(2, variable).map_err(|refusal| (refusal.code, refusal.report.to_string()))
        };
        for name in VARIABLES {
            assert_eq!(check(name, "64"), Ok(()));
            for (text, said) in [("100000", "asks for 100000 threads"), ("two", "is `two`"), ("-1", "is `-1`")] {
                let (code, message) = check(name, text).unwrap_err();
                assert!(code == 2 && message.contains(name) && message.contains(said), "{message}");
            }
        }
        assert_eq!(check("RAYON_NUM_THREADS", "0"), Ok(()), "as many as there are cores");
    }
}
