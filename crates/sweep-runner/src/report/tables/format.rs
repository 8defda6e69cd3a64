//! A table as data, and its three written forms.

/// How a cell stands among its competitors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::report) enum Rank {
    #[default]
    Plain,
    /// The best value of its block.
    Best,
    /// Not distinguishable from the best.
    Tied,
}

/// One cell: a name, or a number with the half-width of its interval.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) enum TableCell {
    /// Strategy or option names, set in typewriter type.
    Name(String),
    /// Words.
    Text(String),
    Number {
        value: f64,
        half_width: Option<f64>,
        decimals: usize,
        rank: Rank,
    },
    Missing,
}

/// One row; a new block starts with a rule.
#[derive(Clone, Debug)]
pub(in crate::report) struct Row {
    pub(in crate::report) block: usize,
    pub(in crate::report) cells: Vec<TableCell>,
}

/// A table with everything around it.
#[derive(Clone, Debug)]
pub(in crate::report) struct Table {
    pub(in crate::report) name: String,
    pub(in crate::report) caption: String,
    pub(in crate::report) header: Vec<String>,
    pub(in crate::report) rows: Vec<Row>,
}

impl Table {
    /// GitHub-flavoured Markdown; underlining is HTML, which it renders.
    pub(in crate::report) fn markdown(&self) -> String {
        let escape = |text: &str| text.replace('|', "\\|");
        let mut text = format!("| {} |\n", self.header.iter().map(|h| escape(h)).collect::<Vec<_>>().join(" | "));
        let align: Vec<&str> =
            (0..self.header.len()).map(|i| if self.is_numeric(i) { "---:" } else { "---" }).collect();
        text += &["| ", &align.join(" | "), " |\n"].concat();
        for row in &self.rows {
            let cells: Vec<String> = row
                .cells
                .iter()
                .map(|cell| match cell {
                    TableCell::Name(name) => format!("`{}`", escape(name)),
                    TableCell::Text(text) => escape(text),
                    TableCell::Missing => "–".to_owned(),
                    TableCell::Number { rank, .. } => match rank {
                        Rank::Plain => plain(cell),
                        Rank::Best => format!("**{}**", plain(cell)),
                        Rank::Tied => format!("<u>{}</u>", plain(cell)),
                    },
                })
                .collect();
            text += &["| ", &cells.join(" | "), " |\n"].concat();
        }
        text
    }

    /// Plain numbers; each number column is followed by its half-width.
    pub(in crate::report) fn csv(&self) -> String {
        let quote = |field: &str| {
            if field.contains([',', '"', '\n']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field.to_owned()
            }
        };
        let widths: Vec<bool> = (0..self.header.len()).map(|i| self.has_half_width(i)).collect();
        let header =
            self.header.iter().zip(&widths).flat_map(|(name, &wide)| {
                std::iter::once(quote(name)).chain(wide.then(|| quote(&format!("{name} ±"))))
            });
        let mut text = header.collect::<Vec<_>>().join(",") + "\n";
        for row in &self.rows {
            let mut fields = Vec::new();
            for (cell, &wide) in row.cells.iter().zip(&widths) {
                let (value, half) = match cell {
                    TableCell::Name(text) | TableCell::Text(text) => (quote(text), String::new()),
                    TableCell::Missing => (String::new(), String::new()),
                    TableCell::Number { value, half_width, .. } => {
                        (format!("{value:.4}"), half_width.map_or(String::new(), |half| format!("{half:.4}")))
                    }
                };
                fields.push(value);
                if wide {
                    fields.push(half);
                }
            }
            text += &(fields.join(",") + "\n");
        }
        text
    }

    /// A `booktabs` fragment for `\input`, with caption and label as comments.
    pub(in crate::report) fn latex(&self) -> String {
        let columns: String = (0..self.header.len()).map(|i| if self.is_numeric(i) { 'r' } else { 'l' }).collect();
        let mut text = format!(
            "% Needs \\usepackage{{booktabs}}. Use inside a table environment:\n% \\caption{{{}}}\n% \\label{{tab:{}}}\n",
            latex_text(&self.caption),
            self.name.replace('_', "-")
        );
        text += &["\\begin{tabular}{", &columns, "}\n\\toprule\n"].concat();
        text += &(self.header.iter().map(|h| latex_text(h)).collect::<Vec<_>>().join(" & ") + " \\\\\n\\midrule\n");
        let mut block = self.rows.first().map_or(0, |row| row.block);
        for row in &self.rows {
            if row.block != block {
                text += "\\midrule\n";
                block = row.block;
            }
            text += &(row.cells.iter().map(latex_cell).collect::<Vec<_>>().join(" & ") + " \\\\\n");
        }
        text + "\\bottomrule\n\\end{tabular}\n"
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().any(|row| matches!(row.cells.get(column), Some(TableCell::Number { .. })))
    }

    fn has_half_width(&self, column: usize) -> bool {
        self.rows.iter().any(|row| matches!(row.cells.get(column), Some(TableCell::Number { half_width: Some(_), .. })))
    }
}

/// A number with its half-width, rounded once here for all formats that people read.
fn plain(cell: &TableCell) -> String {
    match cell {
        TableCell::Number { value, half_width: Some(half), decimals, .. } => {
            format!("{value:.decimals$} ± {half:.decimals$}")
        }
        TableCell::Number { value, half_width: None, decimals, .. } => format!("{value:.decimals$}"),
        TableCell::Name(text) | TableCell::Text(text) => text.clone(),
        TableCell::Missing => String::new(),
    }
}

fn latex_cell(cell: &TableCell) -> String {
    match cell {
        TableCell::Name(name) => format!("\\texttt{{{}}}", latex_text(name)),
        TableCell::Text(text) => latex_text(text),
        TableCell::Missing => "--".to_owned(),
        TableCell::Number { value, half_width, decimals, rank } => {
            let number = format!("{value:.decimals$}").replace('-', "$-$");
            let marked = match rank {
                Rank::Plain => number,
                Rank::Best => format!("\\textbf{{{number}}}"),
                Rank::Tied => format!("\\underline{{{number}}}"),
            };
            match half_width {
                Some(half) => format!("{marked} {{\\scriptsize$\\pm${half:.decimals$}}}"),
                None => marked,
            }
        }
    }
}

fn latex_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '±' => escaped.push_str("$\\pm$"),
            '\u{2212}' => escaped.push_str("$-$"),
            '–' => escaped.push_str("--"),
            '`' => escaped.push('\''),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let number = |value, rank| TableCell::Number { value, half_width: Some(1.25), decimals: 1, rank };
        Table {
            name: "main_x".to_owned(),
            caption: "50 % of a_b".to_owned(),
            header: vec!["strategy".to_owned(), "task, one".to_owned()],
            rows: vec![
                Row { block: 0, cells: vec![TableCell::Name("dense".to_owned()), number(80.0, Rank::Plain)] },
                Row { block: 1, cells: vec![TableCell::Name("top_k".to_owned()), number(71.26, Rank::Best)] },
                Row { block: 1, cells: vec![TableCell::Name("tome".to_owned()), TableCell::Missing] },
            ],
        }
    }

    #[test]
    fn markdown_marks_the_best() {
        let text = table().markdown();
        assert_eq!(text.lines().nth(1), Some("| --- | ---: |"));
        assert_eq!(text.lines().nth(3), Some("| `top_k` | **71.3 ± 1.2** |"));
    }

    #[test]
    fn csv_splits_number_and_half_width() {
        let text = table().csv();
        assert_eq!(text.lines().next(), Some("strategy,\"task, one\",\"task, one ±\""));
        assert_eq!(text.lines().nth(2), Some("top_k,71.2600,1.2500"));
        assert_eq!(text.lines().nth(3), Some("tome,,"));
    }

    #[test]
    fn latex_is_a_fragment() {
        let text = table().latex();
        assert!(text.starts_with("% Needs"));
        assert!(text.contains("% \\caption{50 \\% of a\\_b}\n% \\label{tab:main-x}"));
        assert!(text.contains("\\midrule\n\\texttt{top\\_k} & \\textbf{71.3} {\\scriptsize$\\pm$1.2} \\\\"));
        assert!(!text.contains("documentclass") && text.ends_with("\\end{tabular}\n"));
    }
}
