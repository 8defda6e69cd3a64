//! `--shard`: the share of the work that this process takes, as the command line or the scheduler's environment says.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use thiserror::Error;

use crate::run::Shard;

/// `--shard` as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShardArg {
    /// What the scheduler's environment says, which must say something.
    Auto,
    /// Everything, whatever the environment says.
    None,
    /// This one.
    One(Shard),
}

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match numbers {
            None => Err("write I/N, for example 1/4 for the first of four shards, or auto, or none".to_owned()),
            Some((_, 0)) => Err("there must be at least one shard: write 1/1 or more".to_owned()),
            Some((0, count)) => Err(format!("shards count from 1: write 1/{count} to {count}/{count}")),
            Some((index, count)) if index > count => {
                Err(format!("there is no shard {index} of {count}: write 1/{count} to {count}/{count}"))
            }
            Some((index, count)) => Ok(Self::One(Shard { index: index - 1, count })),
        }
    }
}

/// A shard as the command line writes it: `2/4`.
pub(super) struct Written(pub(super) Shard);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.index + 1, self.0.count)
    }
}

/// Why the environment does not say which shard this is.
#[derive(Debug, Error, Diagnostic, PartialEq, Eq)]
pub(super) enum ShardError {
    /// `--shard auto` outside a scheduler's task.
    #[error("--shard auto: the environment names no shard")]
    #[diagnostic(help(
        "it is read from SLURM_ARRAY_TASK_ID, HQ_TASK_ID or JOB_COMPLETION_INDEX: submit an array, or write --shard 1/4"
    ))]
    Nothing,
    /// The index is there, what goes with it is not.
    #[error("{set} is set, but {missing} is not")]
    #[diagnostic(help("{hint}"))]
    Half { set: &'static str, missing: &'static str, hint: String },
    /// A variable that holds no number.
    #[error("{variable} is `{value}`, which is no whole number")]
    #[diagnostic(help("write --shard I/N to say which shard this is, or --shard none to take everything"))]
    NoNumber { variable: &'static str, value: String },
    /// An index that is none of the shards.
    #[error("{variable} is {value}, which is none of {count} shards")]
    #[diagnostic(help("{hint}"))]
    Outside { variable: &'static str, value: usize, count: usize, hint: String },
    /// A SLURM array such as `--array=1,3,7`.
    #[error("the SLURM array has gaps: {count} tasks from {min} to {max}")]
    #[diagnostic(help(
        "submit it without gaps, for example --array=0-{}: finished work does not run again; or write --shard I/N, or --shard none",
        count - 1
    ))]
    Gaps { min: usize, max: usize, count: usize },
}

/// A share of the work, and who says so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) shard: Shard,
    /// The variables that named it; none if the command line did.
    pub(super) variables: Option<String>,
}

/// The share of this process: the command line's word, else the environment's, else none (all the work).
///
/// Looked at in this order, since a scheduler may run inside the allocation of another one: `HQ_TASK_ID` and
/// `JOB_COMPLETION_INDEX` (both counted from 0, with `SWEEP_SHARDS` for the number of shards), `SLURM_ARRAY_TASK_ID` (from
/// whatever the array starts with). `lookup` returns the value of a variable.
pub(super) fn resolve(
    asked: Option<ShardArg>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<Found>, ShardError> {
    match asked {
        Some(ShardArg::None) => return Ok(None),
        Some(ShardArg::One(shard)) => return Ok(Some(Found { shard, variables: None })),
        Some(ShardArg::Auto) | None => {}
    }
    for index in ["HQ_TASK_ID", "JOB_COMPLETION_INDEX"] {
        if lookup(index).is_some() {
            return indexed(index, &lookup).map(Some);
        }
    }
    if lookup(SLURM[0]).is_some() {
        return slurm(&lookup).map(Some);
    }
    if asked.is_some() { Err(ShardError::Nothing) } else { Ok(None) }
}

/// The number of shards, where the scheduler does not tell its tasks.
const SHARDS: &str = "SWEEP_SHARDS";

/// Index, first index and number of tasks of a SLURM array.
const SLURM: [&str; 3] = ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"];

fn indexed(variable: &'static str, lookup: &impl Fn(&str) -> Option<String>) -> Result<Found, ShardError> {
    let hint = format!("set {SHARDS} to the number of tasks, or write --shard I/N, or --shard none to take everything");
    let value = number(variable, variable, lookup, "")?;
    let count = number(variable, SHARDS, lookup, &hint)?;
    if value >= count {
        let hint = format!("tasks count from 0 to {SHARDS} - 1 (hq submit --array 0-{})", count.saturating_sub(1));
        return Err(ShardError::Outside { variable, value, count, hint });
    }
    let variables = Some(format!("{variable}={value} and {SHARDS}={count}"));
    Ok(Found { shard: Shard { index: value, count }, variables })
}

fn slurm(lookup: &impl Fn(&str) -> Option<String>) -> Result<Found, ShardError> {
    let [id, min, count] = SLURM;
    let hint = "SLURM sets both in the tasks of an array; write --shard I/N, or --shard none to take everything";
    let value = number(id, id, lookup, hint)?;
    let first = number(id, min, lookup, hint)?;
    let count_of = number(id, count, lookup, hint)?;
    let step = match lookup("SLURM_ARRAY_TASK_STEP") {
        Some(_) => number(id, "SLURM_ARRAY_TASK_STEP", lookup, hint)?.max(1),
        None => 1,
    };
    if lookup("SLURM_ARRAY_TASK_MAX").is_some() {
        let max = number(id, "SLURM_ARRAY_TASK_MAX", lookup, hint)?;
        if count_of == 0 || max.saturating_sub(first) / step + 1 != count_of {
            return Err(ShardError::Gaps { min: first, max, count: count_of.max(1) });
        }
    }
    let index = value.checked_sub(first).filter(|offset| offset % step == 0).map(|offset| offset / step);
    match index.filter(|index| *index < count_of) {
        Some(index) => Ok(Found {
            shard: Shard { index, count: count_of },
            variables: Some(format!("{id}={value} in an array of {count_of} from {first}")),
        }),
        None => Err(ShardError::Outside { variable: id, value, count: count_of, hint: hint.to_owned() }),
    }
}

/// A variable's number; `set` is the one because of which it is needed.
fn number(
    set: &'static str,
    variable: &'static str,
    lookup: &impl Fn(&str) -> Option<String>,
    hint: &str,
) -> Result<usize, ShardError> {
    let value = lookup(variable).ok_or(ShardError::Half { set, missing: variable, hint: hint.to_owned() })?;
    value.trim().parse().map_err(|_| ShardError::NoNumber { variable, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<Shard>, ShardError> {
        let lookup =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
        resolve(None, lookup).map(|found| found.map(|found| found.shard))
    }

    fn shard(index: usize, count: usize) -> Shard {
        Shard { index, count }
    }

    fn array<'a>(id: &'a str, min: &'a str, max: &'a str, step: &'a str, count: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_MIN", min),
            ("SLURM_ARRAY_TASK_MAX", max),
            ("SLURM_ARRAY_TASK_STEP", step),
            ("SLURM_ARRAY_TASK_COUNT", count),
        ]
    }

    #[test]
    fn the_command_line_counts_from_one() {
        assert_eq!("1/4".parse(), Ok(ShardArg::One(Shard { index: 0, count: 4 })));
        assert_eq!("4/4".parse(), Ok(ShardArg::One(Shard { index: 3, count: 4 })));
        assert_eq!(Written(Shard { index: 3, count: 4 }).to_string(), "4/4");
        assert_eq!("auto".parse(), Ok(ShardArg::Auto));
        assert_eq!("none".parse(), Ok(ShardArg::None));
        for (text, said) in [
            ("5/4", "there is no shard 5 of 4: write 1/4 to 4/4"),
            ("0/4", "shards count from 1: write 1/4 to 4/4"),
            ("1/0", "at least one shard"),
            ("3", "write I/N"),
            ("-1/4", "write I/N"),
            ("a/b", "write I/N"),
        ] {
            let error = text.parse::<ShardArg>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn slurm_arrays_may_start_anywhere() {
        assert_eq!(found(&array("0", "0", "7", "1", "8")), Ok(Some(shard(0, 8))));
        assert_eq!(found(&array("8", "1", "8", "1", "8")), Ok(Some(shard(7, 8))));
        assert_eq!(found(&array("12", "4", "16", "4", "4")), Ok(Some(shard(2, 4))));
        // A task that is submitted again by itself takes whatever is left.
        assert_eq!(found(&array("3", "3", "3", "1", "1")), Ok(Some(shard(0, 1))));
        // Older versions do not say the largest index and the step.
        let old = [("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_COUNT", "2")];
        assert_eq!(found(&old), Ok(Some(shard(1, 2))));
    }

    #[test]
    fn slurm_arrays_with_gaps_and_half_set_variables_are_refused() {
        let error = found(&array("3", "1", "7", "1", "3")).unwrap_err();
        assert_eq!(error.to_string(), "the SLURM array has gaps: 3 tasks from 1 to 7");
        assert!(error.help().unwrap().to_string().contains("--array=0-2"));
        let error = found(&[("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_MIN", "0")]).unwrap_err();
        assert_eq!(error.to_string(), "SLURM_ARRAY_TASK_ID is set, but SLURM_ARRAY_TASK_COUNT is not");
        let error = found(&array("x", "0", "7", "1", "8")).unwrap_err();
        assert_eq!(error.to_string(), "SLURM_ARRAY_TASK_ID is `x`, which is no whole number");
        let error = found(&array("9", "0", "7", "1", "8")).unwrap_err();
        assert_eq!(error.to_string(), "SLURM_ARRAY_TASK_ID is 9, which is none of 8 shards");
    }

    #[test]
    fn indexed_jobs_count_from_zero_and_need_their_number() {
        for variable in ["JOB_COMPLETION_INDEX", "HQ_TASK_ID"] {
            assert_eq!(found(&[(variable, "2"), ("SWEEP_SHARDS", "3")]), Ok(Some(shard(2, 3))));
            let error = found(&[(variable, "3"), ("SWEEP_SHARDS", "3")]).unwrap_err();
            assert_eq!(error.to_string(), format!("{variable} is 3, which is none of 3 shards"));
            assert!(error.help().unwrap().to_string().contains("from 0"), "{error:?}");
            let error = found(&[(variable, "2")]).unwrap_err();
            assert_eq!(error.to_string(), format!("{variable} is set, but SWEEP_SHARDS is not"));
            assert!(error.help().unwrap().to_string().contains("--shard none"), "{error:?}");
        }
        assert!(found(&[("JOB_COMPLETION_INDEX", "0"), ("SWEEP_SHARDS", "0")]).is_err());
    }

    #[test]
    fn the_innermost_scheduler_is_asked_and_the_command_line_comes_first() {
        let mut both = array("1", "0", "1", "1", "2");
        both.extend([("HQ_TASK_ID", "4"), ("SWEEP_SHARDS", "5")]);
        assert_eq!(found(&both), Ok(Some(shard(4, 5))));
        let lookup = |name: &str| both.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(resolve(Some(ShardArg::None), lookup), Ok(None));
        let one = Shard { index: 0, count: 9 };
        let found = resolve(Some(ShardArg::One(one)), lookup).unwrap().unwrap();
        assert_eq!(found, Found { shard: one, variables: None });
    }

    #[test]
    fn outside_a_scheduler_there_is_no_shard_unless_one_is_asked_for() {
        assert_eq!(found(&[]), Ok(None));
        // Only the index makes a task: this may stand in somebody's profile.
        assert_eq!(found(&[("SWEEP_SHARDS", "4")]), Ok(None));
        assert_eq!(resolve(Some(ShardArg::Auto), |_| None), Err(ShardError::Nothing));
    }
}
