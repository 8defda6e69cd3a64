//! Lines for people, on stderr. Work goes on where nobody can read them: a pipe whose reader has gone, a full disk, a terminal that was
//! closed. `eprintln!` panics there, so nothing else writes to stderr.

use std::io::{self, Write};

use report::text::{coloured_lines, terminal_lines};

/// One line.
pub(crate) fn say(text: &str) {
    say_text(&format!("{text}\n"));
}

/// Lines that end themselves. Control characters are shown as escapes. They are written at once, so that lines of several threads and processes do not mix.
pub(crate) fn say_text(text: &str) {
    write(&terminal_lines(text));
}

/// Lines that end themselves, with colours.
pub(crate) fn say_coloured(text: &str) {
    write(&format!("{}\n", coloured_lines(text)));
}

fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
