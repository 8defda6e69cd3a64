//! A table as LaTeX that fits into a column: several small tables where one is too wide, numbers in `siunitx` columns.

use std::fmt::Write as _;

use analysis::{MARK, NOT_COMPARED};

use super::format::{NO_VALUE, Number, Rank, Row, Table, TableCell, digits};
use crate::paper::Wide;
use crate::select::Select;
use crate::spread::{ENDS, Spread};
use crate::text;

/// Width of a character of `\footnotesize` Computer Modern in points, none of which is narrower than its digits on average.
const CHARACTER: f64 = 4.35;
/// Room between two columns.
const SEPARATION: f64 = 6.0;
/// The share of the width that the names of rows may take.
const NAMES: f64 = 0.4;
/// Width of the small word above an achieved reduction.
const ACHIEVED_HEAD: f64 = 32.0;
/// Longest name of a column or a row in characters.
const LONGEST: usize = 40;

/// One column of numbers or words with what belongs to it.
struct Column<'a> {
    head: String,
    /// Index of its cells in a row.
    index: usize,
    interval: &'static str,
    rows: &'a [&'a Row],
    achieved: bool,
}

/// A table as fragments for `\input`: a group of tabulars, none wider than `wide`, and what their marks mean.
pub(super) fn latex(table: &Table, wide: Wide, select: &Select) -> Option<String> {
    let rows: Vec<&Row> = table.rows.iter().filter(|row| select.takes(table, row)).collect();
    if rows.is_empty() {
        return None;
    }
    let mut page = format!(
        "% Needs \\usepackage{{booktabs,siunitx,array}}. Use inside a table environment, {} wide, after \\input of captions.tex:\n\
         % \\caption{{\\sweepcaption{{{}}}}}\n% \\label{{tab:{}}}\n",
        wide.words(),
        text::latex_comment(&table.name),
        text::latex_comment(&table.name.replace('_', "-"))
    );
    let keys = Keys::new(table, &rows, wide.points);
    let pinned = table.header.iter().position(|head| head == ACHIEVED);
    let columns: Vec<Column> = (0..table.header.len())
        .filter(|index| !table.keys.contains(index) && Some(*index) != pinned && !table.is_asked(*index))
        .map(|index| Column::new(table, &rows, index))
        .collect();
    let pinned = pinned.map(|index| Column::new(table, &rows, index));
    let fixed = keys.width + pinned.as_ref().map_or(0.0, Column::width);
    page += "\\begingroup\\footnotesize\\setlength{\\tabcolsep}{3pt}\\setlength{\\parindent}{0pt}%\n\\sisetup{detect-weight=true}%\n";
    for (part, columns) in parts(&columns, wide.points - fixed).into_iter().enumerate() {
        if part > 0 {
            page += "\\par\\medskip\n";
        }
        tabular(&mut page, table, &rows, &keys, pinned.as_ref(), columns);
    }
    for note in notes(&rows, &columns) {
        let _ = writeln!(page, "\\par\\smallskip\\parbox{{{:.2}pt}}{{\\raggedright {note}\\par}}", wide.points);
    }
    Some(page + "\\endgroup\n")
}

/// Head of the column of the achieved reduction.
const ACHIEVED: &str = "achieved %";

/// Columns in groups that fit.
fn parts<'a, 'b>(columns: &'b [Column<'a>], room: f64) -> Vec<&'b [Column<'a>]> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < columns.len() {
        let (mut end, mut width) = (start, 0.0);
        while end < columns.len() && (end == start || width + columns[end].width() <= room) {
            width += columns[end].width();
            end += 1;
        }
        parts.push(&columns[start..end]);
        start = end;
    }
    if parts.is_empty() { vec![&[]] } else { parts }
}

/// The names of the rows.
struct Keys {
    names: Vec<String>,
    head: String,
    width: f64,
    /// Whether they are broken into lines.
    broken: bool,
}

impl Keys {
    fn new(table: &Table, rows: &[&Row], whole: f64) -> Self {
        let words = |cell: &TableCell| match cell {
            TableCell::Name(words) | TableCell::Text(words) => Some(words.clone()),
            TableCell::Number(number) => Some(format!("{} %", digits(number.value, number.decimals))),
            TableCell::Missing | TableCell::NoValue => None,
        };
        let name = |row: &&Row| {
            let words: Vec<String> = table.keys.iter().filter_map(|&key| words(&row.cells[key])).collect();
            words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ")
        };
        let names: Vec<String> = rows.iter().map(name).collect();
        let head = table.keys.first().map_or_else(String::new, |&key| table.header[key].clone());
        let longest = names.iter().chain([&head]).map(|name| name.chars().count()).max().unwrap_or(0);
        let (natural, most) = (longest as f64 * CHARACTER, NAMES * whole);
        Self { names, head, width: natural.min(most) + SEPARATION, broken: natural > most }
    }

    fn spec(&self) -> String {
        if self.broken {
            format!(">{{\\raggedright\\arraybackslash}}p{{{:.1}pt}}", self.width - SEPARATION)
        } else {
            "l".to_owned()
        }
    }

    fn cell(&self, row: usize) -> String {
        let name = &self.names[row];
        if !self.broken {
            return text::latex(name);
        }
        // A word may be broken where LaTeX knows no syllables.
        text::latex(name).replace("\\_", "\\_\\hspace{0pt}")
    }
}

impl<'a> Column<'a> {
    fn new(table: &Table, rows: &'a [&'a Row], index: usize) -> Self {
        let head = text::shortened(&table.short_head(index), LONGEST);
        let interval = table.intervals.get(index).copied().unwrap_or_default();
        let column = Self { head, index, interval, rows, achieved: table.achieved_in_cells };
        Self { achieved: column.achieved && column.numbers().any(|number| number.achieved.is_some()), ..column }
    }

    fn numbers(&self) -> impl Iterator<Item = &'a Number> {
        let index = self.index;
        self.rows.iter().filter_map(move |row| match &row.cells[index] {
            TableCell::Number(number) => Some(number),
            _ => None,
        })
    }

    fn is_numeric(&self) -> bool {
        self.numbers().next().is_some()
    }

    fn has_interval(&self) -> bool {
        self.numbers().any(|number| number.spread.is_some())
    }

    fn has_mark(&self) -> bool {
        self.numbers().any(|number| matches!(number.rank, Rank::Tied | Rank::Apart))
    }

    /// Whole digits and decimals of some numbers, and whether one is negative.
    fn format(values: impl Iterator<Item = (f64, usize)>) -> (usize, usize, bool) {
        values.filter(|(value, _)| in_digits(*value)).fold((1, 0, false), |(whole, decimals, minus), (value, own)| {
            let digits = format!("{:.own$}", value.abs());
            (whole.max(digits.split('.').next().map_or(1, str::len)), decimals.max(own), minus || value < 0.0)
        })
    }

    fn values(&self) -> (usize, usize, bool) {
        Self::format(self.numbers().map(|number| (number.value, number.decimals)))
    }

    fn halves(&self) -> (usize, usize, bool) {
        Self::format(self.numbers().filter_map(|number| Some((number.half()?, number.decimals))))
    }

    fn achieved(&self) -> (usize, usize, bool) {
        Self::format(self.numbers().filter_map(|number| Some((number.achieved?, 1))))
    }

    /// Columns of LaTeX.
    fn count(&self) -> usize {
        1 + 2 * usize::from(self.has_interval()) + usize::from(self.has_mark()) + usize::from(self.achieved)
    }

    fn spec(&self) -> String {
        if !self.is_numeric() {
            return "l".to_owned();
        }
        let mut spec = s_column(self.values());
        if self.has_interval() {
            let _ = write!(spec, "@{{\\,}}c@{{\\,}}{}", s_column(self.halves()));
        }
        if self.has_mark() {
            spec += "@{\\,}l";
        }
        if self.achieved {
            let _ = write!(spec, "@{{\\ }}{}", s_column(self.achieved()));
        }
        spec
    }

    /// About how wide it is printed, with the room before it.
    fn width(&self) -> f64 {
        let number = |(whole, decimals, minus): (usize, usize, bool)| {
            (whole + decimals) as f64 * CHARACTER + if decimals > 0 { 2.6 } else { 0.0 } + if minus { 7.0 } else { 0.0 }
        };
        let words = self.rows.iter().map(|row| match &row.cells[self.index] {
            TableCell::Name(words) | TableCell::Text(words) => words.chars().count() as f64 * CHARACTER,
            TableCell::NoValue => NO_VALUE.len() as f64 * CHARACTER,
            TableCell::Number(number) if !in_digits(number.value) => 9.0 * CHARACTER,
            _ => 0.0,
        });
        let mut own = number(self.values());
        own += if self.has_interval() { (10.0 + number(self.halves())).max(self.ends()) } else { 0.0 };
        own += if self.has_mark() { 6.5 } else { 0.0 };
        own += if self.achieved { 4.0 + number(self.achieved()).max(ACHIEVED_HEAD) } else { 0.0 };
        let head = self.head.split(' ').map(|word| word.chars().count()).max().unwrap_or(0) as f64 * CHARACTER;
        words.fold(own, f64::max).max(head) + SEPARATION
    }

    /// About how wide the widest pair of ends is printed, one above the other and small.
    fn ends(&self) -> f64 {
        let ends = self.numbers().filter_map(|number| match number.spread? {
            Spread::Ends(up, down) => Some([up, down].map(|end| digits(end, number.decimals).len())),
            Spread::Half(_) => None,
        });
        ends.flatten().max().map_or(0.0, |longest| (1 + longest) as f64 * CHARACTER)
    }

    /// The cells of sign and half width; of both ends, as one.
    fn interval_cells(&self, number: &Number) -> String {
        let write = |value: f64| text::latex(&digits(value, number.decimals)).replace('$', "");
        match number.spread {
            Some(Spread::Half(half)) if in_digits(half) => format!("$\\pm$ & {}", digits(half, number.decimals)),
            Some(Spread::Ends(up, down)) => {
                let after = if self.has_mark() || self.achieved { "@{\\,}" } else { "" };
                format!("\\multicolumn{{2}}{{l{after}}}{{$^{{+{}}}_{{-{}}}$}}", write(up), write(down))
            }
            _ => "$\\pm$ & {--}".to_owned(),
        }
    }

    fn cell(&self, row: &Row) -> String {
        let across = |words: &str| format!("\\multicolumn{{{}}}{{c}}{{{words}}}", self.count());
        let number = match &row.cells[self.index] {
            TableCell::Name(words) | TableCell::Text(words) if self.is_numeric() => return across(&text::latex(words)),
            TableCell::Name(words) | TableCell::Text(words) => return text::latex(words),
            TableCell::Missing => return across("--"),
            TableCell::NoValue => return across(NO_VALUE),
            TableCell::Number(number) => number,
        };
        let mark = match number.rank {
            Rank::Tied => TIED,
            Rank::Apart => "$^\\dagger$",
            Rank::Plain | Rank::Best => "",
        };
        if !in_digits(number.value) {
            return across(&format!("{}{mark}", text::latex(&digits(number.value, number.decimals))));
        }
        let bold = if number.rank == Rank::Best { "\\bfseries " } else { "" };
        let mut cell = format!("{bold}{}", digits(number.value, number.decimals));
        if self.has_interval() {
            cell += " & ";
            cell += &self.interval_cells(number);
        }
        if self.has_mark() {
            let _ = write!(cell, " & {mark}");
        }
        if self.achieved {
            let _ = write!(cell, " & {}", number.achieved.map_or_else(String::new, |share| digits(share, 1)));
        }
        cell
    }
}

/// Whether a number can be set in a column of digits.
fn in_digits(value: f64) -> bool {
    value.is_finite() && value.abs() < 1e7
}

fn s_column((whole, decimals, minus): (usize, usize, bool)) -> String {
    format!("S[table-format={}{whole}.{decimals}]", if minus { "-" } else { "" })
}

/// The mark of what is not distinguishable from the best.
const TIED: &str = "$^\\circ$";

fn tabular(page: &mut String, table: &Table, rows: &[&Row], keys: &Keys, pinned: Option<&Column>, columns: &[Column]) {
    let all: Vec<&Column> = pinned.into_iter().chain(columns).collect();
    let count = 1 + all.iter().map(|column| column.count()).sum::<usize>();
    let specs: String = all.iter().map(|column| column.spec()).collect();
    let _ = writeln!(page, "\\begin{{tabular}}{{@{{}}{}{specs}@{{}}}}\n\\toprule", keys.spec());
    let head = |column: &&Column| {
        // A word a line: heads are no wider than their numbers need.
        let words: Vec<String> = column.head.split(' ').map(text::latex).collect();
        let words = if words.len() == 1 { words[0].clone() } else { format!("\\shortstack{{{}}}", words.join("\\\\")) };
        format!("\\multicolumn{{{}}}{{c}}{{{words}}}", column.count())
    };
    let heads: Vec<String> = std::iter::once(text::latex(&keys.head)).chain(all.iter().map(head)).collect();
    let _ = writeln!(page, "{} \\\\", heads.join(" & "));
    if all.iter().any(|column| column.achieved) {
        let below = |column: &&Column| match column.count() {
            1 => String::new(),
            _ if !column.achieved => format!("\\multicolumn{{{}}}{{c}}{{}}", column.count()),
            count => format!("\\multicolumn{{{}}}{{c}}{{}} & {{\\scriptsize achieved}}", count - 1),
        };
        let below: Vec<String> = std::iter::once(String::new()).chain(all.iter().map(below)).collect();
        let _ = writeln!(page, "{} \\\\", below.join(" & "));
    }
    let mut block = None;
    for (index, row) in rows.iter().enumerate() {
        if block != Some(row.block) {
            *page += "\\midrule\n";
            if let Some(asked) = table.asked_of(row) {
                let _ = writeln!(page, "\\multicolumn{{{count}}}{{@{{}}l}}{{\\itshape {}}} \\\\", text::latex(&asked));
            }
            block = Some(row.block);
        }
        let cells = std::iter::once(keys.cell(index)).chain(all.iter().map(|column| column.cell(row)));
        let _ = writeln!(page, "{} \\\\", cells.collect::<Vec<_>>().join(" & "));
    }
    *page += "\\bottomrule\n\\end{tabular}\n";
}

/// What marks and intervals mean.
fn notes(rows: &[&Row], columns: &[Column]) -> Vec<String> {
    let numbers = || {
        rows.iter().flat_map(|row| &row.cells).filter_map(|cell| match cell {
            TableCell::Number(number) => Some(number),
            _ => None,
        })
    };
    let mut methods: Vec<(&str, Vec<String>)> = Vec::new();
    for column in columns.iter().filter(|column| column.has_interval() && !column.interval.is_empty()) {
        match methods.iter_mut().find(|(method, _)| *method == column.interval) {
            Some((_, heads)) => heads.push(text::latex(&column.head)),
            None => methods.push((column.interval, vec![text::latex(&column.head)])),
        }
    }
    let several = methods.len() > 1;
    let method = |(method, heads): &(&str, Vec<String>)| {
        if several { format!("{method} for {}", heads.join(", ")) } else { (*method).to_owned() }
    };
    let methods: Vec<String> = methods.iter().map(method).collect();
    let mut marks = Vec::new();
    if !methods.is_empty() {
        marks.push(format!("$\\pm$: half the 95\\,\\% interval over items ({}).", methods.join("; ")));
    }
    if numbers().any(|number| matches!(number.spread, Some(Spread::Ends(..)))) {
        marks.push(text::latex(&format!("{ENDS}.")));
    }
    if numbers().any(|number| number.rank == Rank::Best) {
        let tied = if numbers().any(|number| number.rank == Rank::Tied) {
            format!("; {TIED}: not distinguishable from it")
        } else {
            String::new()
        };
        marks.push(format!("Bold: the best at the same achieved reduction{tied}."));
    }
    if numbers().any(|number| number.rank == Rank::Apart) {
        marks.push(text::latex(&format!("{MARK} {NOT_COMPARED}.")));
    }
    if numbers().any(|number| !number.value.is_finite()) {
        marks.push(text::latex("∞ or NaN: a value that is no finite number; it takes no part in any comparison."));
    }
    if marks.is_empty() { Vec::new() } else { vec![marks.join(" ")] }
}

/// Captions of all tables and figures by their names, for `\caption{\sweepcaption{NAME}}`.
pub(in super::super) fn captions<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut page =
        "% \\input this file once, then \\caption{\\sweepcaption{NAME}} for the table or figure of that name.\n\
                    \\providecommand{\\sweepcaption}[1]{\\csname sweepcaption@#1\\endcsname}\n"
            .to_owned();
    for (name, caption) in all {
        let _ = writeln!(
            page,
            "\\expandafter\\def\\csname sweepcaption@{}\\endcsname{{{}}}",
            text::latex_comment(name),
            text::latex(&caption.replace('`', ""))
        );
    }
    page
}
