//! A table as data, and its three written forms.

use std::fmt::Write as _;

use analysis::{MARK, NOT_COMPARED};

use records::schema::{Asked, Reduction};

use crate::spread::{ENDS, Spread};
use crate::text;
use crate::view::in_percent;

/// How a cell stands among its competitors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rank {
    #[default]
    Plain,
    /// The best value of its block.
    Best,
    /// Not distinguishable from the best.
    Tied,
    /// No competitor: it removed more or less than those that are compared.
    Apart,
}

/// One cell: a name, or a number with its interval.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TableCell {
    /// Strategy or option names, set in typewriter type.
    Name(String),
    /// Words.
    Text(String),
    Number(Number),
    Missing,
    /// Finished, and its metric counts nothing of what was scored.
    NoValue,
}

/// Methods of intervals.
pub(super) const WILSON: &str = "Wilson's";
pub(super) const BOOTSTRAP: &str = "bootstrap";
pub(super) const PAIRED: &str = "paired bootstrap";

/// What such a cell says.
pub(super) const NO_VALUE: &str = "no value";

/// A number and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Number {
    pub(crate) value: f64,
    pub(crate) spread: Option<Spread>,
    pub(crate) decimals: usize,
    pub(crate) rank: Rank,
    /// FLOPs reduction, in percent, at which it was measured, where that differs from column to column.
    pub(crate) achieved: Option<f64>,
}

impl Number {
    /// A number alone.
    pub(crate) fn plain(value: f64, decimals: usize) -> TableCell {
        TableCell::Number(Self { value, decimals, ..Self::default() })
    }
}

/// One row; a new block starts with a rule.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) block: usize,
    pub(crate) cells: Vec<TableCell>,
}

/// A table with everything around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) caption: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Whether the achieved reduction stands behind each number; otherwise it has a column, and CSV alone says more.
    pub(crate) achieved_in_cells: bool,
    /// Columns that together name a row.
    pub(crate) keys: Vec<usize>,
    /// Whether rows are rules, whose labels are names.
    pub(crate) has_rules: bool,
    /// What was asked for in each block of rows; none of the baseline.
    pub(crate) asked: Vec<Option<Reduction>>,
    /// Whether the first column says so.
    pub(crate) asked_column: bool,
    /// The method of each column's intervals, empty where it has none.
    pub(crate) intervals: Vec<&'static str>,
    /// Heads for narrow columns; none where they are those of `header`.
    pub(crate) short: Vec<String>,
    /// What a caption must say where heads are short.
    pub(crate) short_note: String,
}

impl Table {
    /// GitHub-flavoured Markdown; underlining is HTML, which it renders. Notes stand below.
    pub(crate) fn markdown(&self) -> String {
        let header: Vec<String> = self.header.iter().map(|head| text::markdown_cell(head)).collect();
        let mut page = format!("| {} |\n", header.join(" | "));
        let align: Vec<&str> =
            (0..self.header.len()).map(|i| if self.is_numeric(i) { "---:" } else { "---" }).collect();
        page += &["| ", &align.join(" | "), " |\n"].concat();
        for row in &self.rows {
            let cells: Vec<String> = row.cells.iter().map(|cell| self.markdown_of(cell)).collect();
            page += &["| ", &cells.join(" | "), " |\n"].concat();
        }
        for note in self.notes() {
            let _ = writeln!(page, "\n{note}");
        }
        page
    }

    fn markdown_of(&self, cell: &TableCell) -> String {
        match cell {
            TableCell::Name(name) => text::markdown_code(name),
            TableCell::Text(words) => text::markdown_cell(words),
            TableCell::Missing => "–".to_owned(),
            TableCell::NoValue => NO_VALUE.to_owned(),
            TableCell::Number(number) => {
                let plain = number.plain_text();
                let marked = match number.rank {
                    Rank::Plain | Rank::Apart => plain,
                    Rank::Best => format!("**{plain}**"),
                    Rank::Tied => format!("<u>{plain}</u>"),
                };
                marked + &self.behind(number)
            }
        }
    }

    /// What stands behind a number: its achieved reduction, and the mark of what is not compared.
    fn behind(&self, number: &Number) -> String {
        let achieved = number.achieved.filter(|_| self.achieved_in_cells);
        let achieved = achieved.map_or_else(String::new, |achieved| format!(" ({achieved:.1})"));
        let mark = if number.rank == Rank::Apart { format!(" {MARK}") } else { String::new() };
        achieved + &mark
    }

    /// What the marks in the cells mean.
    fn notes(&self) -> Vec<String> {
        let numbers = || {
            self.rows.iter().flat_map(|row| &row.cells).filter_map(|cell| match cell {
                TableCell::Number(number) => Some(number),
                _ => None,
            })
        };
        let apart = numbers().any(|number| number.rank == Rank::Apart);
        let infinite = numbers().any(|number| !number.value.is_finite());
        let ends = numbers().any(|number| matches!(number.spread, Some(Spread::Ends(..))));
        let notes = [
            ends.then(|| format!("{ENDS}.")),
            apart.then(|| format!("{MARK} {NOT_COMPARED}.")),
            infinite
                .then(|| "∞ or NaN: a value that is no finite number; it takes no part in any comparison.".to_owned()),
        ];
        notes.into_iter().flatten().collect()
    }

    /// Plain numbers; each number column is followed by the ends of its interval, and by its achieved reduction and whether it was compared.
    pub(crate) fn csv(&self) -> String {
        let columns = 0..self.header.len();
        let further: Vec<[bool; 2]> = columns.map(|i| [self.has_interval(i), self.has_achieved(i)]).collect();
        let mut header = Vec::new();
        for (name, [wide, achieved]) in self.header.iter().zip(&further) {
            header.push(text::csv(name));
            let further = [(*wide, [" low", " high"]), (*achieved, [" achieved %", " compared"])];
            let words = further.iter().filter(|(is_there, _)| *is_there).flat_map(|(_, words)| words);
            header.extend(words.map(|word| text::csv(&format!("{name}{word}"))));
        }
        let mut lines = header.join(",") + "\n";
        for row in &self.rows {
            let mut fields = Vec::new();
            for (cell, [wide, achieved]) in row.cells.iter().zip(&further) {
                let number = match cell {
                    TableCell::Number(number) => Some(number),
                    _ => None,
                };
                fields.push(match cell {
                    TableCell::Name(words) | TableCell::Text(words) => text::csv(words),
                    TableCell::Missing | TableCell::NoValue => String::new(),
                    TableCell::Number(number) => format!("{:.4}", number.value),
                });
                if *wide {
                    let ends = number.and_then(|n| Some((n.value, n.spread?.ways())));
                    let ends = ends.map(|(value, (up, down))| [value - down, value + up]);
                    fields.extend(ends.map_or_else(Default::default, |ends| ends.map(|end| format!("{end:.4}"))));
                }
                if *achieved {
                    fields
                        .push(number.and_then(|n| n.achieved).map_or_else(String::new, |share| format!("{share:.4}")));
                    let compared = |n: &Number| if n.rank == Rank::Apart { "no" } else { "yes" };
                    fields.push(number.map_or_else(String::new, |n| compared(n).to_owned()));
                }
            }
            lines += &(fields.join(",") + "\n");
        }
        lines
    }

    /// The head of a column where it has little room.
    pub(super) fn short_head(&self, index: usize) -> String {
        self.short.get(index).unwrap_or(&self.header[index]).clone()
    }

    /// Whether a column says what was asked for.
    pub(super) fn is_asked(&self, index: usize) -> bool {
        self.asked_column && index == 0
    }

    /// What was asked for in the block of a row, in words, where a column says so.
    pub(super) fn asked_of(&self, row: &Row) -> Option<String> {
        let asked = self.asked.get(row.block).copied().flatten().filter(|_| self.asked_column)?;
        Some(match asked.asked {
            Asked::Nothing => asked.in_words(0),
            _ => format!("{} % {} reduction", in_percent(asked.value), asked.word()),
        })
    }

    /// The reduction, in percent, that was asked for in the block of a row.
    pub(crate) fn reduction_of(&self, row: &Row) -> Option<Reduction> {
        self.asked.get(row.block).copied().flatten()
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.numbers(column).next().is_some()
    }

    fn has_interval(&self, column: usize) -> bool {
        self.numbers(column).any(|number| number.spread.is_some())
    }

    fn has_achieved(&self, column: usize) -> bool {
        self.numbers(column).any(|number| number.achieved.is_some())
    }

    fn numbers(&self, column: usize) -> impl Iterator<Item = &Number> {
        self.rows.iter().filter_map(move |row| match row.cells.get(column) {
            Some(TableCell::Number(number)) => Some(number),
            _ => None,
        })
    }
}

impl Number {
    /// Half the width of its interval, where it is told so.
    pub(super) fn half(&self) -> Option<f64> {
        match self.spread? {
            Spread::Half(half) => Some(half),
            Spread::Ends(..) => None,
        }
    }

    /// With its interval, rounded once here for all formats that people read.
    fn plain_text(&self) -> String {
        let value = digits(self.value, self.decimals);
        match self.spread {
            Some(spread) => format!("{value} {}", spread.words(|number| digits(number, self.decimals))),
            None => value,
        }
    }
}

/// A number with so many decimals; none where it has no use for them.
pub(super) fn digits(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    // Perplexities may have hundreds of digits.
    if value.abs() >= 1e7 { format!("{value:.2e}") } else { text::fixed(value, decimals) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let number = |value, rank| {
            TableCell::Number(Number { value, spread: Some(Spread::Half(1.25)), decimals: 1, rank, achieved: None })
        };
        Table {
            name: "main_x".to_owned(),
            caption: "50 % of a_b".to_owned(),
            header: vec!["strategy".to_owned(), "task, one".to_owned()],
            rows: vec![
                Row { block: 0, cells: vec![TableCell::Name("dense".to_owned()), number(80.0, Rank::Plain)] },
                Row { block: 1, cells: vec![TableCell::Name("top_k".to_owned()), number(71.26, Rank::Best)] },
                Row { block: 1, cells: vec![TableCell::Name("tome".to_owned()), TableCell::Missing] },
            ],
            keys: vec![0],
            has_rules: true,
            ..Table::default()
        }
    }

    /// In a column of ACL.
    fn latex(table: &Table) -> String {
        let wide = crate::paper::Wide::of(Some(crate::paper::Paper::Acl))[0];
        table.latex(wide, &crate::select::Select::default()).expect("rows")
    }

    #[test]
    fn markdown_marks_the_best() {
        let text = table().markdown();
        assert_eq!(text.lines().nth(1), Some("| --- | ---: |"));
        assert_eq!(text.lines().nth(3), Some("| `top_k` | **71.3 ± 1.2** |"));
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(digits(-0.0, 2), "0.00");
        assert_eq!(digits(-0.25, 2), "-0.25");
        assert_eq!(digits(-0.04, 1), "0.0");
    }

    #[test]
    fn csv_holds_the_ends_of_intervals() {
        let text = table().csv();
        assert_eq!(text.lines().next(), Some("strategy,\"task, one\",\"task, one low\",\"task, one high\""));
        assert_eq!(text.lines().nth(2), Some("top_k,71.2600,70.0100,72.5100"));
        assert_eq!(text.lines().nth(3), Some("tome,,,"));
    }

    #[test]
    fn latex_is_a_fragment() {
        let text = latex(&table());
        assert!(text.starts_with("% Needs"));
        assert!(text.contains("% \\caption{\\sweepcaption{main_x}}\n% \\label{tab:main-x}"));
        assert!(text.contains("\\midrule\ntop\\_k & \\bfseries 71.3 & $\\pm$ & 1.2 \\\\"), "{text}");
        assert!(text.contains("tome & \\multicolumn{3}{c}{--} \\\\"), "{text}");
        assert!(!text.contains("documentclass") && text.ends_with("\\endgroup\n"));
        let captions = crate::tables::captions([("main_x", "50 % of `a_b`")].into_iter());
        assert!(captions.contains("sweepcaption@main_x\\endcsname{50 \\% of a\\_b}"), "{captions}");
    }
    #[test]
    fn what_is_not_compared_is_marked_in_every_format() {
        let mut table = table();
        table.achieved_in_cells = true;
        let apart = Number {
            value: 90.9,
            spread: Some(Spread::Half(0.9)),
            decimals: 1,
            rank: Rank::Apart,
            achieved: Some(5.2),
        };
        table.rows[1].cells[1] = TableCell::Number(apart);
        assert!(table.markdown().contains("| 90.9 ± 0.9 (5.2) † |"), "{}", table.markdown());
        assert!(
            table.markdown().ends_with("\n\n† achieved reduction differs by more than half a point: not compared.\n")
        );
        assert!(latex(&table).contains("90.9 & $\\pm$ & 0.9 & $^\\dagger$ & 5.2 \\\\"), "{}", latex(&table));
        assert!(latex(&table).contains("$^\\dagger$ achieved"));
        let csv = table.csv();
        assert_eq!(
            csv.lines().next(),
            Some(
                "strategy,\"task, one\",\"task, one low\",\"task, one high\",\"task, one achieved %\",\"task, one compared\""
            )
        );
        assert_eq!(csv.lines().nth(2), Some("top_k,90.9000,90.0000,91.8000,5.2000,no"));
    }

    #[test]
    fn an_interval_does_not_leave_what_the_value_can_be() {
        let mut table = table();
        let all = Number { value: 100.0, spread: Some(Spread::Ends(0.0, 3.6)), decimals: 1, ..Number::default() };
        table.rows[0].cells[1] = TableCell::Number(all);
        assert!(table.markdown().contains("| 100.0 +0.0 \u{2212}3.6 |"), "{}", table.markdown());
        assert!(table.markdown().ends_with(&format!("\n\n{ENDS}.\n")));
        let latex = latex(&table);
        assert!(latex.contains("& 100.0 & \\multicolumn{2}{l}{$^{+0.0}_{-3.6}$} \\\\"), "{latex}");
        assert!(latex.contains("+ and $-$: the way"), "{latex}");
        assert_eq!(table.csv().lines().nth(1), Some("dense,100.0000,96.4000,100.0000"));
    }

    #[test]
    fn values_without_end_are_marked() {
        let mut table = table();
        let infinite = Number { value: f64::INFINITY, spread: None, decimals: 2, ..Number::default() };
        table.rows[1].cells[1] = TableCell::Number(infinite);
        assert!(table.markdown().contains("| ∞ |") && table.markdown().contains("∞ or NaN: a value"));
        assert!(latex(&table).contains("{$\\infty$} \\\\"));
        assert!(table.csv().contains("top_k,inf,"));
        assert_eq!(digits(f64::NAN, 1), "NaN");
        assert_eq!(digits(3.2e205, 2), "3.20e205");
    }

    #[test]
    fn a_name_breaks_no_format() {
        let mut table = table();
        table.caption = "of `a\nb`".to_owned();
        table.rows[1].cells[0] = TableCell::Name("a|b\n\\end{tabular}\u{1b}[2J<!-- END -->".to_owned());
        let (markdown, latex) = (table.markdown(), latex(&table));
        let captions = crate::tables::captions([("x", table.caption.as_str())].into_iter());
        assert_eq!(markdown.lines().count(), 5, "{markdown}");
        assert!(!markdown.contains('\u{1b}') && !markdown.contains("<!--"), "{markdown}");
        assert!(markdown.lines().all(|line| line.matches('|').count() == 3), "{markdown}");
        assert!(captions.contains("{of a b}\n") && latex.matches("\\end{tabular}").count() == 1, "{latex}");
        assert!(latex.contains("a\\textbar{}b \\textbackslash{}end\\{tabular\\}"), "{latex}");
    }
}
