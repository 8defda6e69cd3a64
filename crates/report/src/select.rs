//! Which rules and reductions the LaTeX tables show.

use records::schema::Reduction;

use super::tables::{Row, Table, TableCell};

/// A choice of rules and reductions; the empty one takes all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Select {
    /// Strategies, or labels of rules.
    rules: Vec<String>,
    /// Shares of 1, as they were asked for.
    reductions: Vec<f64>,
}

impl Select {
    /// `dense,random,utrc@10,20`: rules, and after `@` reductions. Either may be left out.
    ///
    /// # Errors
    /// A reduction is no reduction.
    pub fn parse(words: &str) -> Result<Self, String> {
        let (rules, reductions) = words.split_once('@').unwrap_or((words, ""));
        Ok(Self {
            rules: split(rules),
            reductions: split(reductions)
                .iter()
                .map(|word| Reduction::value_from_text(word))
                .collect::<Result<_, _>>()
                .map_err(|problem| format!("{problem}; rules stand before the `@`: dense,random,utrc@10,20"))?,
        })
    }

    /// Rules that none of the tables has.
    pub(super) fn unknown(&self, tables: &[Table]) -> Vec<String> {
        let known = |rule: &&String| tables.iter().any(|table| table.rows.iter().any(|row| has(table, row, rule)));
        self.rules.iter().filter(|rule| !known(rule)).cloned().collect()
    }

    /// Reductions, in per cent, that none of the tables has.
    pub(super) fn unknown_reductions(&self, tables: &[Table]) -> Vec<String> {
        let known =
            |value: &&f64| tables.iter().flat_map(|table| &table.asked).flatten().any(|own| own.is_written(**value));
        self.reductions.iter().filter(|value| !known(value)).map(|value| format!("{:.1} %", value * 100.0)).collect()
    }

    /// Whether a row is shown.
    pub(super) fn takes(&self, table: &Table, row: &Row) -> bool {
        let rule = self.rules.is_empty() || !table.has_rules || self.rules.iter().any(|rule| has(table, row, rule));
        let reduction = self.reductions.is_empty()
            || table.reduction_of(row).is_none_or(|own| self.reductions.iter().any(|value| own.is_written(*value)));
        rule && reduction
    }
}

fn split(words: &str) -> Vec<String> {
    // Labels hold commas between brackets: `top_k (clip, of ssm_output)`.
    let mut all = vec![String::new()];
    let mut depth = 0_i32;
    for c in words.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        match (c, all.last_mut()) {
            (',', _) if depth == 0 => all.push(String::new()),
            (c, Some(word)) => word.push(c),
            _ => {}
        }
    }
    all.iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Whether a row is of a rule: by its label or by its strategy.
fn has(table: &Table, row: &Row, rule: &str) -> bool {
    let named = |cell: &TableCell| match cell {
        TableCell::Name(name) => name == rule || name.split(" (").next() == Some(rule),
        _ => false,
    };
    table.has_rules && row.cells.iter().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_reductions_are_told_apart() {
        let select = Select::parse("dense, top_k (clip, of ssm_output),utrc@10,20%").unwrap();
        assert_eq!(select.rules, ["dense", "top_k (clip, of ssm_output)", "utrc"]);
        assert_eq!(select.reductions, [0.1, 0.2]);
        assert_eq!(Select::parse("@20").unwrap(), Select { rules: Vec::new(), reductions: vec![0.2] });
        assert!(Select::parse("utrc@much").unwrap_err().contains("`much`"));
        assert_eq!(Select::parse("").unwrap(), Select::default());
    }
}
