//! Scripts with `{{placeholders}}`.

use miette::Diagnostic;
use reduction_strategies::spelling::nearest;
use thiserror::Error;

/// Why a template cannot be filled.
#[derive(Debug, Error, Diagnostic, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// A placeholder that stands for nothing.
    #[error("{template}:{line}: unknown placeholder `{{{{{name}}}}}`")]
    #[diagnostic(help("{hint}"))]
    Unknown { template: String, line: usize, name: String, hint: String },
    /// `{{` without `}}` in the same line.
    #[error("{template}:{line}: `{{{{` without `}}}}` in the same line")]
    #[diagnostic(help("a placeholder is written {{{{name}}}}"))]
    Open { template: String, line: usize },
    /// A template that lacks what makes it one.
    #[error("{template} never uses {{{{{name}}}}}")]
    #[diagnostic(help(
        "without it the script would do nothing for the experiment; experiments/templates/ has a working one"
    ))]
    Unused { template: String, name: &'static str },
}

/// A name and what stands in its place.
pub(crate) type Value<'a> = (&'static str, &'a str);

/// Fills every placeholder of `text`, which must use `needed`. `template` names it in errors.
pub(crate) fn fill(
    template: &str,
    text: &str,
    values: &[Value<'_>],
    needed: &'static str,
) -> Result<String, TemplateError> {
    let mut filled = String::with_capacity(text.len());
    let mut used = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            let at = || (template.to_owned(), index + 1);
            let Some((name, after)) = after.split_once("}}") else {
                let (template, line) = at();
                return Err(TemplateError::Open { template, line });
            };
            let Some((name, value)) = values.iter().find(|(known, _)| *known == name.trim()) else {
                let (template, line) = at();
                return Err(TemplateError::Unknown { template, line, name: name.to_owned(), hint: hint(name, values) });
            };
            used |= *name == needed;
            filled.push_str(before);
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
    }
    if used { Ok(filled) } else { Err(TemplateError::Unused { template: template.to_owned(), name: needed }) }
}

fn hint(name: &str, values: &[Value<'_>]) -> String {
    let known: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    let all = format!("known: {}", known.join(", "));
    match nearest(name.trim(), known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [Value<'_>; 2] = [("name", "tiny"), ("run", "sweep run 'a b'")];

    fn filled(text: &str) -> Result<String, TemplateError> {
        fill("own.sbatch", text, &VALUES, "run")
    }

    #[test]
    fn every_placeholder_is_filled() {
        let text = "#!/bin/bash\n# {{name}}, {{ name }}\nx=${HOME}; {{run}} &\n";
        assert_eq!(filled(text).unwrap(), "#!/bin/bash\n# tiny, tiny\nx=${HOME}; sweep run 'a b' &\n");
    }

    #[test]
    fn values_are_not_filled_again() {
        let values = [("run", "echo '{{name}}'")];
        assert_eq!(fill("t", "{{run}}", &values, "run").unwrap(), "echo '{{name}}'");
    }

    #[test]
    fn what_cannot_be_filled_is_refused_with_its_line() {
        let error = filled("a\n{{rum}}\n").unwrap_err();
        assert_eq!(error.to_string(), "own.sbatch:2: unknown placeholder `{{rum}}`");
        assert_eq!(error.help().unwrap().to_string(), "did you mean `run`? known: name, run");
        let error = filled("{{run}}\n{{name\n}}").unwrap_err();
        assert_eq!(error.to_string(), "own.sbatch:2: `{{` without `}}` in the same line");
        assert_eq!(filled("echo {{name}}").unwrap_err().to_string(), "own.sbatch never uses {{run}}");
    }
}
