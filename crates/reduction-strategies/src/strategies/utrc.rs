//! Interim registration.

use crate::options::{OptionDefault, OptionInfo, OptionKind};
use crate::registry::{Registration, never_causal};
use crate::rule::Rule;

const IMPORTANCE: OptionKind = OptionKind::Choice(&["clip", "l1", "l2", "sum", "dt_mean", "dt_l2"]);
const OPTIONS: &[OptionInfo] = &[OptionInfo { name: "importance", kind: IMPORTANCE, default: OptionDefault::Word("clip"), help: "" }, OptionInfo { name: "source", kind: OptionKind::Choice(&["block_output", "ssm_output", "gated_output", "residual"]), default: OptionDefault::Word("ssm_output"), help: "" }, OptionInfo { name: "q", kind: OptionKind::Number { min: 0.0, max: 1.0 }, default: OptionDefault::Number(0.5), help: "" }];
const _: OptionKind = IMPORTANCE;
const _: OptionDefault = OptionDefault::Integer(0);

inventory::submit! {
    Registration { name: "utrc", version: 1, summary: "", source: "", formula: "", differs: "", options: OPTIONS, seeded: false, causal: never_causal, build: |_| Rule::Identity }
}
