//! The experiment file as written: every key read and typed, nothing yet checked against models, tasks or strategies.

use evaluation::protocol::UPSTREAM_BATCH_SIZE;
use evaluation::tasks::Prompting;
use reduction_strategies::options::OptionValue;
use reduction_strategies::schedule::AfterKind;
use reduction_strategies::spelling::nearest;
use ssm_model::LayerKind;

use super::error::{Fault, Faults, Span, gather};
use super::node::{Fields, Located, Node, Value, unknown_key};
use super::record_plans::RecordPlans;
use super::wire_bridge::WireBridge;
use super::wire_claim::WireClaim;
use super::wire_selector::WireSelector;
use super::wire_task::{WirePrimary, WireTask};

/// The whole file. A key is none where it is absent and has no default, and where it could not be read, which is noted among the faults.
pub(super) struct WireExperiment {
    pub(super) name: Option<Located<String>>,
    pub(super) question: Option<String>,
    pub(super) expect: Option<String>,
    pub(super) claim: Option<WireClaim>,
    pub(super) bridges: Option<Vec<WireBridge>>,
    pub(super) models: Option<Vec<WireModel>>,
    pub(super) tasks: Option<Vec<WireTask>>,
    pub(super) protocols: Option<Vec<Located<String>>>,
    /// Empty where the experiment has probes alone.
    pub(super) strategies: Option<Located<Vec<WireStrategy>>>,
    pub(super) probes: Option<Vec<WireStrategy>>,
    pub(super) positions: Option<Vec<Located<String>>>,
    pub(super) signal_from: Option<Located<String>>,
    pub(super) schedules: Option<Vec<WireSchedule>>,
    pub(super) exclude: Option<Vec<WireSelector>>,
    pub(super) zip: Option<Vec<WireSelector>>,
    pub(super) sample: Option<WireSample>,
    pub(super) split: Option<Located<String>>,
    pub(super) limit: Option<usize>,
    pub(super) record_plans: Option<RecordPlans>,
    pub(super) prompting: Option<Prompting>,
    pub(super) baseline: Option<Located<String>>,
    pub(super) primary: Option<WirePrimary>,
    pub(super) seed: Option<u64>,
    pub(super) upstream_batch_size: Option<usize>,
}

/// One entry of `models`.
pub(super) struct WireModel {
    pub(super) reference: Located<String>,
    pub(super) tokenizer: Option<Located<String>>,
}

/// One entry of `strategies` or `probes`.
pub(super) struct WireStrategy {
    pub(super) name: Located<String>,
    pub(super) options: Vec<WireOption>,
    pub(super) seeds: Option<WireSeeds>,
}

/// One option and the values of its axis.
pub(super) struct WireOption {
    pub(super) key: Located<String>,
    pub(super) values: Vec<Located<OptionValue>>,
}

/// The `seeds` of a strategy.
pub(super) struct WireSeeds {
    pub(super) key: Span,
    pub(super) values: Vec<Located<u64>>,
}

/// One block of `schedule`.
pub(super) struct WireSchedule {
    pub(super) sites: Located<WireSites>,
    pub(super) amounts: WireAmounts,
    /// The whole block.
    pub(super) span: Span,
}

/// Where tokens are reduced.
pub(super) enum WireSites {
    Paper,
    Explicit(Vec<Located<usize>>),
    Every { start: usize, every: usize, count: usize },
    After(AfterKind),
    Single(Vec<Located<usize>>),
    SingleAfter(AfterKind),
    SingleAll,
}

/// How much is reduced.
pub(super) enum WireAmounts {
    FlopsReduction(Vec<Located<f64>>),
    AchievedReduction(Vec<Located<f64>>),
    KeepRatio(Vec<Located<f64>>),
    Calibrated(Vec<Located<f64>>),
    /// Sites alone.
    Free,
}

/// `sample`.
pub(super) struct WireSample {
    pub(super) count: usize,
    pub(super) seed: u64,
}

/// Every key of the file.
pub(super) const KEYS: &[&str] = &[
    "name",
    "question",
    "expect",
    "claim",
    "bridges",
    "models",
    "tasks",
    "protocols",
    "strategies",
    "probes",
    "positions",
    "signal_from",
    "schedule",
    "exclude",
    "zip",
    "sample",
    "split",
    "limit",
    "record_plans",
    "fewshot",
    "fewshot_seed",
    "max_length",
    "baseline",
    "primary",
    "seed",
    "upstream_batch_size",
];

impl WireExperiment {
    /// Reads every key; what is wrong is noted.
    ///
    /// # Errors
    /// Nothing can be read: the file is empty, or no map.
    pub(super) fn read(node: &Node, faults: &mut Faults) -> Result<Self, Fault> {
        if matches!(node.value, Value::Null) {
            return Err(node.fault("the file is empty").hint("start from experiments/smoke.yaml"));
        }
        let entries = node.entries("the experiment")?;
        let unknown: Vec<&Located<String>> =
            entries.iter().map(|(key, _)| key).filter(|key| !KEYS.contains(&key.value.as_str())).collect();
        for key in &unknown {
            faults.add(unknown_key(key, "the experiment", KEYS));
        }
        let fields = Fields { span: node.span, entries };
        let mut reader = Reader { fields: &fields, unknown: &unknown, faults };
        let probes = reader.or("probes", Vec::new, |node| strategies(node, "`probes`", "probe"));
        let strategies = match fields.get("strategies") {
            Some(node) => {
                let span = fields.key("strategies").unwrap_or(node.span);
                let read = strategies(node, "`strategies`", "strategy").map(|value| Located { value, span });
                reader.faults.note(read)
            }
            None if fields.get("probes").is_some() => Some(Located { value: Vec::new(), span: fields.span }),
            None => reader.need(
                "strategies",
                "list the strategies to compare, for example `strategies: [dense, top_k]`",
                |_| unreachable!("it is not there"),
            ),
        };
        Ok(Self {
            name: reader
                .need("name", "give the experiment a name; results go to results/<name>/", |node| node.text("`name`")),
            question: reader.optional("question", |node| trimmed(node, "`question`")),
            expect: reader.optional("expect", |node| trimmed(node, "`expect`")),
            claim: reader.optional("claim", WireClaim::read),
            bridges: reader
                .or("bridges", Vec::new, |node| gather(node.list("`bridges`")?.iter().map(WireBridge::read))),
            models: reader.named("models", "for example `models: [builtin:mamba2-world]`", WireModel::read),
            tasks: reader.named("tasks", "for example `tasks: [world_lambada]`", WireTask::read),
            protocols: reader.or("protocols", Vec::new, |node| texts(node, "`protocols`")),
            strategies,
            probes,
            positions: reader.or("positions", Vec::new, |node| {
                let nodes = node.one_or_more("`positions`")?;
                gather(nodes.iter().map(|item| item.text("an entry of `positions`")))
            }),
            signal_from: reader.optional("signal_from", |node| node.text("`signal_from`")),
            schedules: reader.or("schedule", Vec::new, |node| {
                gather(node.one_or_more("`schedule`")?.iter().map(WireSchedule::read))
            }),
            exclude: reader.or("exclude", Vec::new, |node| selectors(node, "exclude")),
            zip: reader.or("zip", Vec::new, |node| selectors(node, "zip")),
            sample: reader.optional("sample", WireSample::read),
            split: reader.optional("split", |node| node.text("`split`")),
            limit: reader.optional("limit", |node| at_least_one(node, "`limit`")),
            record_plans: reader.or("record_plans", RecordPlans::default, RecordPlans::read),
            prompting: reader.faults.note(prompting(&fields)),
            baseline: reader.optional("baseline", |node| node.text("`baseline`")),
            primary: reader.optional("primary", WirePrimary::read),
            seed: reader.or("seed", || 0, |node| node.whole("`seed`", 0).map(|seed| seed.value)),
            upstream_batch_size: reader.or(
                "upstream_batch_size",
                || UPSTREAM_BATCH_SIZE,
                |node| at_least_one(node, "`upstream_batch_size`"),
            ),
        })
    }
}

/// Reads keys of the file one by one and notes what is wrong.
struct Reader<'r, 'n> {
    fields: &'r Fields<'n>,
    unknown: &'r [&'n Located<String>],
    faults: &'r mut Faults,
}

impl Reader<'_, '_> {
    fn need<T>(&mut self, key: &str, hint: &str, read: impl FnOnce(&Node) -> Result<T, Fault>) -> Option<T> {
        // A misspelt key has its own fault, which says what it should have been.
        let is_misspelt =
            || self.unknown.iter().any(|unknown| nearest(&unknown.value, KEYS.iter().copied()) == Some(key));
        if self.fields.get(key).is_none() && is_misspelt() {
            return None;
        }
        let read = self.fields.need(key, hint).and_then(read);
        self.faults.note(read)
    }

    /// A list of names. A name outside a list is refused, and still read: it may be wrong itself.
    fn named<T>(&mut self, key: &str, hint: &str, read: impl Fn(&Node) -> Result<T, Fault>) -> Option<Vec<T>> {
        let entries = |node: &Node| gather(node.list(&format!("`{key}`"))?.iter().map(&read));
        let lone = self
            .fields
            .get(key)
            .filter(|node| matches!(&node.value, Value::Text(text) if text.split([',', ' ']).count() == 1));
        let listed = self.need(key, hint, entries);
        listed.or_else(|| Some(vec![self.faults.note(read(lone?))?]))
    }

    fn or<T>(
        &mut self,
        key: &str,
        default: impl FnOnce() -> T,
        read: impl FnOnce(&Node) -> Result<T, Fault>,
    ) -> Option<T> {
        match self.fields.get(key) {
            Some(node) => self.faults.note(read(node)),
            None => Some(default()),
        }
    }

    fn optional<T>(&mut self, key: &str, read: impl FnOnce(&Node) -> Result<T, Fault>) -> Option<T> {
        self.fields.get(key).and_then(|node| self.faults.note(read(node)))
    }
}

fn strategies(node: &Node, key: &str, what: &str) -> Result<Vec<WireStrategy>, Fault> {
    gather(node.list(key)?.iter().map(|entry| WireStrategy::read(entry, what)))
}

fn prompting(fields: &Fields<'_>) -> Result<Prompting, Fault> {
    let default = Prompting::default();
    let whole = |key: &str, default: u64| {
        fields.get(key).map_or(Ok(default), |node| node.whole(&format!("`{key}`"), 0).map(|whole| whole.value))
    };
    Ok(Prompting {
        fewshot: whole("fewshot", default.fewshot as u64)? as usize,
        fewshot_seed: whole("fewshot_seed", default.fewshot_seed)?,
        max_length: fields
            .get("max_length")
            .map_or(Ok(default.max_length), |node| at_least_one(node, "`max_length`"))?,
    })
}

fn at_least_one(node: &Node, what: &str) -> Result<usize, Fault> {
    node.whole(what, 1).map(|whole| whole.value as usize)
}

fn trimmed(node: &Node, what: &str) -> Result<String, Fault> {
    node.text(what).map(|text| text.value.trim().to_owned())
}

fn texts(node: &Node, what: &str) -> Result<Vec<Located<String>>, Fault> {
    gather(node.list(what)?.iter().map(|item| item.text(&format!("an entry of {what}"))))
}

fn selectors(node: &Node, name: &str) -> Result<Vec<WireSelector>, Fault> {
    gather(node.list(&format!("`{name}`"))?.iter().map(|item| WireSelector::read(item, name)))
}

impl WireModel {
    fn read(node: &Node) -> Result<Self, Fault> {
        const WHAT: &str = "an entry of `models`";
        match &node.value {
            Value::Map(_) => {
                let fields = node.fields(WHAT, &["path", "tokenizer"])?;
                let hint = "for example `{ path: ./ckpt, tokenizer: EleutherAI/gpt-neox-20b }`";
                Ok(Self {
                    reference: fields.need("path", hint)?.text("`path`")?,
                    tokenizer: fields.get("tokenizer").map(|node| node.text("`tokenizer`")).transpose()?,
                })
            }
            Value::List(_) | Value::Null => Err(node.wrong(WHAT, "a reference, or a map of `path` and `tokenizer`")),
            _ => Ok(Self { reference: node.text(WHAT)?, tokenizer: None }),
        }
    }
}

impl WireStrategy {
    fn read(node: &Node, what: &str) -> Result<Self, Fault> {
        let a = format!("a {what}");
        if let Value::Text(_) = node.value {
            return Ok(Self { name: node.text(&a)?, options: Vec::new(), seeds: None });
        }
        let Value::Map(entries) = &node.value else {
            return Err(node.wrong(&a, "a name or a map of one name to its options"));
        };
        let [(name, options)] = entries.as_slice() else {
            let second = entries.get(1).map_or(node.span, |(key, _)| key.span);
            return Err(Fault::new(second, format!("{a} is a map of one name to its options"))
                .label("a second key")
                .hint(
                    "start a new list entry with `- `, or put the options in braces: `- top_k: { importance: clip }`",
                ));
        };
        let mut strategy = Self { name: name.clone(), options: Vec::new(), seeds: None };
        if matches!(options.value, Value::Null) {
            return Ok(strategy);
        }
        let mut faults = Faults::default();
        for (key, values) in options.entries(&format!("the options of `{}`", name.value))? {
            let what = format!("`{}`", key.value);
            if key.value == "seeds" {
                let seeds =
                    values.list(&what).and_then(|values| gather(values.iter().map(|seed| seed.whole("a seed", 0))));
                strategy.seeds = faults.note(seeds).map(|values| WireSeeds { key: key.span, values });
            } else if key.value == "reduce_ratio" {
                faults.add(unknown_key(key, &a, &[]));
            } else {
                let values = values
                    .one_or_more(&what)
                    .and_then(|values| gather(values.iter().map(|value| option_value(value, &what))));
                strategy.options.extend(faults.note(values).map(|values| WireOption { key: key.clone(), values }));
            }
        }
        faults.done(strategy)
    }
}

/// A scalar as the value of an option.
pub(super) fn option_value(node: &Node, what: &str) -> Result<Located<OptionValue>, Fault> {
    let value = match &node.value {
        Value::Integer(value) => OptionValue::Integer(*value),
        Value::Number(value) => OptionValue::Number(*value),
        Value::Text(value) => OptionValue::Word(value.clone()),
        Value::Bool(value) => OptionValue::Word(value.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => return Err(node.wrong(what, "a number or a word")),
    };
    Ok(Located { value, span: node.span })
}

impl WireSchedule {
    fn read(node: &Node) -> Result<Self, Fault> {
        let fields = node.fields("`schedule`", &["sites", "flops_reduction", "keep_ratio", "calibrate"])?;
        let sites = fields.need("sites", "for example `sites: paper` or `sites: [3, 5, 7]`")?;
        let numbers = |node: &Node, what: &str| gather(node.one_or_more(what)?.iter().map(|value| value.number(what)));
        let (reduction, ratio) = (fields.get("flops_reduction"), fields.get("keep_ratio"));
        if let (Some(_), Some(other)) = (fields.get("calibrate"), reduction.or(ratio)) {
            let span = fields.key("calibrate").unwrap_or(other.span);
            return Err(Fault::new(span, "a schedule takes calibrate, or flops_reduction or keep_ratio, not both")
                .label("for rules of free count alone")
                .hint("make `schedule` a list of two blocks to run both"));
        }
        let amounts = match (reduction, ratio) {
            (Some(node), None) => match achieved(node)? {
                Some(values) => WireAmounts::AchievedReduction(numbers(values, "`achieved`")?),
                None => WireAmounts::FlopsReduction(numbers(node, "`flops_reduction`")?),
            },
            (None, Some(node)) if matches!(node.value, Value::Map(_)) => {
                return Err(node
                    .fault("`keep_ratio` is the share of tokens that a site keeps, a number or a list of them")
                    .label("a map")
                    .hint("`achieved` belongs to `flops_reduction`: flops_reduction: { achieved: 0.2 }"));
            }
            (None, Some(node)) => WireAmounts::KeepRatio(numbers(node, "`keep_ratio`")?),
            (Some(_), Some(_)) => {
                let second = fields.key("keep_ratio").unwrap_or(fields.span);
                return Err(Fault::new(second, "a schedule takes flops_reduction or keep_ratio, not both")
                    .label("beside flops_reduction")
                    .hint("make `schedule` a list of two blocks to run both"));
            }
            (None, None) => match fields.get("calibrate") {
                Some(node) => {
                    let hint = "for example `calibrate: { achieved: 0.2 }`";
                    let fields = node.fields("`calibrate`", &["achieved"])?;
                    WireAmounts::Calibrated(numbers(fields.need("achieved", hint)?, "`achieved`")?)
                }
                None => WireAmounts::Free,
            },
        };
        Ok(Self { sites: Located { value: WireSites::read(sites)?, span: sites.span }, amounts, span: fields.span })
    }
}

/// The values of `flops_reduction: { achieved: .. }`; none where that is not what is meant.
pub(super) fn achieved(node: &Node) -> Result<Option<&Node>, Fault> {
    const KEY: &str = "achieved";
    let Value::Map(entries) = &node.value else { return Ok(None) };
    if !entries.iter().any(|(key, _)| key.value == "per" || nearest(&key.value, [KEY].into_iter()).is_some()) {
        return Ok(None);
    }
    if let Some((key, _)) = entries.iter().find(|(key, _)| key.value == "per") {
        return Err(key
            .fault("`per` is not a key: the keep ratio of an achieved reduction is solved task by task")
            .label("always per task")
            .hint("remove it: `flops_reduction: { achieved: 0.2 }`"));
    }
    let fields = node.fields("`flops_reduction`", &[KEY])?;
    fields.need(KEY, "for example `flops_reduction: { achieved: 0.2 }`").map(Some)
}

const SITE_FORMS: &str = "`paper`, a list of layers, {start, every, count}, {after: KIND} or {single: [..]}";

/// Whether a map says `after`.
pub(super) fn says_after(node: &Node) -> bool {
    matches!(&node.value, Value::Map(entries) if entries.iter().any(|(key, _)| key.value == "after"))
}

/// `{ after: KIND }`, with `start`, `every` and `count` among the layers of the kind where they are given.
pub(super) fn after(node: &Node) -> Result<AfterKind, Fault> {
    let fields = node.fields("`sites`", &["after", "start", "every", "count"])?;
    let word = fields.need("after", "for example `{ after: attention }`")?.text("`after`")?;
    let Some(kind) = LayerKind::ALL.into_iter().find(|kind| kind.name() == word.value) else {
        let names = LayerKind::ALL.map(LayerKind::name);
        let hint = match nearest(&word.value, names.into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("kinds: {}", names.join(", ")),
        };
        return Err(word.fault(format!("`{}` is not a kind of layers", word.value)).label("unknown kind").hint(hint));
    };
    let start = fields.get("start").map_or(Ok(0), |node| node.index("`start`").map(|start| start.value))?;
    let every = fields.get("every").map_or(Ok(1), |node| at_least_one(node, "`every`"))?;
    let count = fields.get("count").map(|node| at_least_one(node, "`count`")).transpose()?;
    Ok(AfterKind { kind, start, every, count })
}

impl WireSites {
    fn read(node: &Node) -> Result<Self, Fault> {
        let layers = |node: &Node, what: &str| gather(node.list(what)?.iter().map(|layer| layer.index("a layer")));
        match &node.value {
            Value::Text(text) if text == "paper" => Ok(Self::Paper),
            Value::Text(text) if text == "all" => Err(node.wrong("`sites`", SITE_FORMS).hint(
                "write `{ single: all }` for one site after each layer in turn, or `{ start: 0, every: 1, count: N }` for sites after all of N layers",
            )),
            Value::List(_) => layers(node, "`sites`").map(Self::Explicit),
            Value::Map(entries) if entries.iter().any(|(key, _)| key.value == "single") => {
                let fields = node.fields("`sites`", &["single"])?;
                match fields.need("single", "")? {
                    Node { value: Value::Text(text), .. } if text == "all" => Ok(Self::SingleAll),
                    single if says_after(single) => after(single).map(Self::SingleAfter),
                    single => match &single.value {
                        Value::List(_) => layers(single, "`single`").map(Self::Single),
                        _ => Err(single.wrong("`single`", "a list of layers, {after: KIND} or `all`")),
                    },
                }
            }
            Value::Map(_) if says_after(node) => after(node).map(Self::After),
            Value::Map(_) => {
                let fields = node.fields("`sites`", &["start", "every", "count", "single", "after"])?;
                let hint = "for example `{ start: 12, every: 5, count: 7 }`";
                Ok(Self::Every {
                    start: fields.need("start", hint)?.index("`start`")?.value,
                    every: at_least_one(fields.need("every", hint)?, "`every`")?,
                    count: at_least_one(fields.need("count", hint)?, "`count`")?,
                })
            }
            Value::Integer(layer) => Err(node.wrong("`sites`", SITE_FORMS).hint(format!("write [{layer}]"))),
            _ => Err(node.wrong("`sites`", SITE_FORMS)),
        }
    }
}

impl WireSample {
    fn read(node: &Node) -> Result<Self, Fault> {
        let fields = node.fields("`sample`", &["count", "seed"])?;
        Ok(Self {
            count: at_least_one(fields.need("count", "how many trials to draw besides the baseline")?, "`count`")?,
            seed: fields.get("seed").map_or(Ok(0), |node| node.whole("`seed`", 0).map(|seed| seed.value))?,
        })
    }
}
