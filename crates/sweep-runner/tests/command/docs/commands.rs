//! Commands in the pages, held to the program's own definition of its command line.

use std::fs;

use clap::Command;
use sweep_runner::cli;

use super::markdown::root;

/// Flags of other programs that pages name by themselves.
const FOREIGN: [&str; 14] = [
    "--array",
    "--cluster",
    "--crash-limit",
    "--dependency",
    "--error-on",
    "--features",
    "--gres",
    "--icf",
    "--ignored",
    "--no-default-features",
    "--release",
    "--resource",
    "--signal",
    "--workspace",
];

/// What is wrong with a line that may call the program, `just` or neither.
pub(crate) fn problem(line: &str) -> Option<String> {
    let line = line.split(" #").next().unwrap_or_default().trim().trim_start_matches("$ ");
    if let Some((_, words)) = line.split_once("--bin sweep -- ") {
        return sweep(&words.split_whitespace().collect::<Vec<_>>());
    }
    let words: Vec<&str> = line.split_whitespace().skip_while(|word| is_assignment(word)).collect();
    match *words.first()? {
        "sweep" => sweep(&words[1..]),
        "just" => just(words.get(1).copied()),
        word if word.starts_with("--") => lone_flag(word),
        _ => None,
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !name.is_empty())
}

/// What is wrong with the words of a call of the program.
pub(crate) fn sweep(words: &[&str]) -> Option<String> {
    let mut command = cli::command();
    let mut path = "sweep".to_owned();
    let mut rest = words;
    while let [word, behind @ ..] = rest {
        if word.starts_with('-')
            || !command.has_subcommands()
            || !word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        {
            break;
        }
        let Some(found) = command.find_subcommand(word) else {
            return Some(format!("`{path}` has no command `{word}`"));
        };
        command = found.clone();
        path = format!("{path} {word}");
        rest = behind;
    }
    for word in rest {
        if *word == "--" {
            // What is behind goes to each task's run.
            command = cli::command().find_subcommand("run").unwrap().clone();
            path = String::from("sweep run");
            continue;
        }
        if matches!(*word, "|" | "&&" | ">" | "2>" | ";") {
            break;
        }
        if let Some(flag) = word.strip_prefix("--") {
            let flag = name(flag);
            if !knows(&command, flag) {
                return Some(format!("`{path}` has no flag `--{flag}`"));
            }
        }
    }
    None
}

fn name(flag: &str) -> &str {
    let end = flag.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-');
    &flag[..end.unwrap_or(flag.len())]
}

fn knows(command: &Command, flag: &str) -> bool {
    matches!(flag, "help" | "version") || command.get_arguments().any(|argument| argument.get_long() == Some(flag))
}

fn just(recipe: Option<&str>) -> Option<String> {
    let recipe = recipe?.trim_end_matches(['`', ',', '.']);
    let text = fs::read_to_string(root().join("justfile")).unwrap();
    let known = text.lines().any(|line| {
        line.split([' ', ':']).next() == Some(recipe) && line.contains(':') && !line.starts_with([' ', '#'])
    });
    (!known).then(|| format!("the justfile has no recipe `{recipe}`"))
}

fn lone_flag(word: &str) -> Option<String> {
    let flag = name(word.trim_start_matches('-'));
    let everywhere = |command: &Command| {
        let mut commands = vec![command.clone()];
        while let Some(command) = commands.pop() {
            if knows(&command, flag) {
                return true;
            }
            commands.extend(command.get_subcommands().cloned());
        }
        false
    };
    let foreign = FOREIGN.contains(&format!("--{flag}").as_str());
    (!flag.is_empty() && !foreign && !everywhere(&cli::command()))
        .then(|| format!("no command of `sweep` has `--{flag}`"))
}
