//! Where and how much: reduction sites, keep counts, and the solver for a FLOPs target.
//!
//! The convention for nominal reduction is that of the paper (Zhan et al., EMNLP 2024) and its released code: the mean
//! over layers of the running keep ratio, blocks only, a site's own layer still at full length. With the 64-layer sites
//! and a keep ratio of 0.905 this gives 29.84 %.

use hint::Hint;
use ssm_model::LayerKind;
use thiserror::Error;

/// The layers after which tokens are reduced, as written in an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sites {
    /// The paper's sites: 12,17,..,42 of 64 layers; 10,15,..,35 of 48; scaled from the 64-layer ones for other depths.
    Paper,
    /// These layers, 0-based and strictly increasing.
    Explicit(Vec<usize>),
    /// `start`, `start + every`, ... (`count` of them).
    Every {
        /// First site.
        start: usize,
        /// Distance between sites.
        every: usize,
        /// Number of sites.
        count: usize,
    },
    /// After the layers of one kind.
    After(AfterKind),
}

/// Layers of one kind: of those from `start` on every `every`-th, all of them or `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterKind {
    /// The kind.
    pub kind: LayerKind,
    /// The first layer that may be a site.
    pub start: usize,
    /// Distance between sites, counted in layers of the kind.
    pub every: usize,
    /// Number of sites; none for as many as there are.
    pub count: Option<usize>,
}

/// Why a schedule was refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ScheduleError {
    /// A site at or beyond the last layer.
    #[error("site {site} is beyond the model: it has {n_layer} layers (0..={})", n_layer - 1)]
    SiteBeyondModel {
        /// The site.
        site: usize,
        /// Depth of the model.
        n_layer: usize,
    },
    /// Sites repeat or go down.
    #[error("sites must increase: {second} follows {first}")]
    NotIncreasing {
        /// Earlier entry.
        first: usize,
        /// Later entry.
        second: usize,
    },
    /// No site at all.
    #[error("a schedule needs at least one site")]
    Empty,
    /// `every: 0`.
    #[error("`every` must be at least 1")]
    ZeroStep,
    /// A model without a layer of the kind.
    #[error("it has no layers of the kind {kind}; its layers are {}", in_words(has))]
    NoSuchKind {
        /// The kind.
        kind: LayerKind,
        /// The kinds that it has.
        has: Vec<LayerKind>,
    },
    /// A model with some layers of the kind, but fewer than asked for.
    #[error("sites {after} ask for {asked}, it has {}", found(sites))]
    TooFewOfKind {
        /// What was asked for.
        after: AfterKind,
        /// Number of sites asked for.
        asked: usize,
        /// The sites that there are.
        sites: Vec<usize>,
    },
    /// A ratio outside (0, 1].
    #[error("keep_ratio {0} is outside (0, 1]")]
    KeepRatio(f64),
    /// A target that these sites cannot reach.
    #[error("flops_reduction {target} cannot be reached at sites {sites:?} of {n_layer} layers: at most {most:.4}")]
    Unreachable {
        /// What was asked.
        target: f64,
        /// Where reduction was allowed.
        sites: Vec<usize>,
        /// Depth of the model.
        n_layer: usize,
        /// Reduction if nothing were kept after the first site.
        most: f64,
    },
    /// A target outside [0, 1).
    #[error("flops_reduction {0} is outside [0, 1)")]
    Target(f64),
}

impl Hint for ScheduleError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::SiteBeyondModel { .. } => {
                Some("sites are 0-based layers; a reduction happens after that block".to_owned())
            }
            Self::Unreachable { .. } => Some("start earlier, or lower the target".to_owned()),
            Self::KeepRatio(_) => Some("keep_ratio is the share of arriving tokens that stay".to_owned()),
            Self::Target(_) => Some("flops_reduction is a share: write 0.2 for 20 %".to_owned()),
            Self::NoSuchKind { .. } => {
                Some("name a kind that every listed model has, or give this model a file of its own".to_owned())
            }
            Self::TooFewOfKind { .. } => Some("begin earlier, or ask for fewer".to_owned()),
            Self::NotIncreasing { .. } | Self::Empty | Self::ZeroStep => None,
        }
    }
}

/// Kinds in one phrase.
fn in_words(kinds: &[LayerKind]) -> String {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(" and ")
}

/// Sites that were found.
fn found(sites: &[usize]) -> String {
    let words: Vec<_> = sites.iter().map(usize::to_string).collect();
    if words.is_empty() { "none".to_owned() } else { format!("{} ({})", words.len(), words.join(",")) }
}

impl AfterKind {
    /// The layers of a model, given by the kinds of each of its layers.
    fn resolve(&self, layers: &[Vec<LayerKind>]) -> Result<Vec<usize>, ScheduleError> {
        let of_kind = |layer: &usize| layers[*layer].contains(&self.kind);
        if self.every == 0 {
            return Err(ScheduleError::ZeroStep);
        }
        if !(0..layers.len()).any(|layer| of_kind(&layer)) {
            let has = LayerKind::ALL.into_iter().filter(|kind| layers.iter().any(|layer| layer.contains(kind)));
            return Err(ScheduleError::NoSuchKind { kind: self.kind, has: has.collect() });
        }
        let wanted = self.count.unwrap_or(usize::MAX);
        let sites: Vec<usize> = (self.start..layers.len()).filter(of_kind).step_by(self.every).take(wanted).collect();
        let asked = self.count.unwrap_or(1);
        if sites.len() < asked {
            return Err(ScheduleError::TooFewOfKind { after: *self, asked, sites });
        }
        Ok(sites)
    }
}

impl Sites {
    /// The sites of a model, given by the kinds of each of its layers, strictly increasing.
    ///
    /// # Errors
    /// A site beyond the model, a repeated site, no site, a kind of layers that the model does not have.
    pub fn resolve(&self, layers: &[Vec<LayerKind>]) -> Result<Vec<usize>, ScheduleError> {
        let n_layer = layers.len();
        let sites = match self {
            Self::Paper => paper_sites(n_layer),
            Self::Explicit(sites) => sites.clone(),
            Self::Every { every: 0, .. } => return Err(ScheduleError::ZeroStep),
            Self::Every { start, every, count } => (0..*count).map(|index| start + index * every).collect(),
            Self::After(after) => after.resolve(layers)?,
        };
        if sites.is_empty() {
            return Err(ScheduleError::Empty);
        }
        if let Some(pair) = sites.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(ScheduleError::NotIncreasing { first: pair[0], second: pair[1] });
        }
        match sites.iter().find(|&&site| site >= n_layer) {
            Some(&site) => Err(ScheduleError::SiteBeyondModel { site, n_layer }),
            None => Ok(sites),
        }
    }
}

impl std::fmt::Display for Sites {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Paper => f.write_str("paper"),
            Self::Explicit(sites) => {
                let words: Vec<_> = sites.iter().map(usize::to_string).collect();
                write!(f, "sites {}", words.join(","))
            }
            Self::Every { start, every, count } => write!(f, "start {start} every {every} count {count}"),
            Self::After(after) => after.fmt(f),
        }
    }
}

impl std::fmt::Display for AfterKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, start, every, count } = self;
        write!(f, "after {kind}")?;
        if *start > 0 {
            write!(f, " start {start}")?;
        }
        if *every > 1 {
            write!(f, " every {every}")?;
        }
        count.map_or(Ok(()), |count| write!(f, " count {count}"))
    }
}

/// The paper's sites for a depth: quoted for 64 and 48 layers, scaled from 64 (rounded, duplicates removed) elsewhere.
fn paper_sites(n_layer: usize) -> Vec<usize> {
    if n_layer == 48 {
        return (10..=35).step_by(5).collect();
    }
    let mut sites: Vec<usize> =
        (12..=42).step_by(5).map(|site| (site * n_layer + 32) / 64).filter(|&site| site < n_layer).collect();
    sites.dedup();
    sites
}

/// Number of tokens that stay of `n` reducible ones: `ceil(keep_ratio * n)`. The only place where counts are rounded.
///
/// A product that misses a whole number by less than 1e-9 of it counts as that number, so that 0.28 of 100 is 28 and not
/// 29 (floating-point noise; the released code has no such guard).
#[must_use]
pub fn n_keep(keep_ratio: f64, n: usize) -> usize {
    let exact = keep_ratio * n as f64;
    ((exact * (1.0 - 1e-9)).ceil() as usize).min(n)
}

/// How many of `n_keep` kept tokens are the last ones, for a share of them. At least one is chosen by something else.
#[must_use]
pub fn n_last(share: f64, n_keep: usize) -> usize {
    ((share * n_keep as f64).floor() as usize).min(n_keep.saturating_sub(1))
}

/// Nominal FLOPs reduction of one common `keep_ratio` at `sites` of `n_layer` layers: 1 - mean running keep ratio.
#[must_use]
pub fn nominal_flops_reduction(sites: &[usize], n_layer: usize, keep_ratio: f64) -> f64 {
    let mut running = 1.0;
    let mut total = 0.0;
    for layer in 0..n_layer {
        total += running;
        if sites.contains(&layer) {
            running *= keep_ratio;
        }
    }
    1.0 - total / n_layer as f64
}

/// The common keep ratio at `sites` whose nominal FLOPs reduction is `target`, by bisection to double precision.
///
/// # Errors
/// A target outside [0, 1) or more than these sites can give.
pub fn solve_keep_ratio(sites: &[usize], n_layer: usize, target: f64) -> Result<f64, ScheduleError> {
    if !(0.0..1.0).contains(&target) {
        return Err(ScheduleError::Target(target));
    }
    let most = nominal_flops_reduction(sites, n_layer, 0.0);
    if target >= most && target > 0.0 {
        return Err(ScheduleError::Unreachable { target, sites: sites.to_vec(), n_layer, most });
    }
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if nominal_flops_reduction(sites, n_layer, middle) > target {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers of one kind.
    fn mamba2(n_layer: usize) -> Vec<Vec<LayerKind>> {
        vec![vec![LayerKind::Mamba2]; n_layer]
    }

    #[test]
    fn sites_after_layers_of_a_kind() {
        let mut layers = mamba2(16);
        layers[5] = vec![LayerKind::Attention];
        layers[11] = vec![LayerKind::Mamba2, LayerKind::Attention];
        let after = |kind, start, every, count| Sites::After(AfterKind { kind, start, every, count });
        let sites = |kind, start, every, count| after(kind, start, every, count).resolve(&layers);
        assert_eq!(sites(LayerKind::Attention, 0, 1, None).unwrap(), [5, 11]);
        assert_eq!(sites(LayerKind::Attention, 6, 1, None).unwrap(), [11]);
        assert_eq!(sites(LayerKind::Mamba2, 3, 2, Some(4)).unwrap(), [3, 6, 8, 10]);
        assert_eq!(sites(LayerKind::Mamba2, 12, 1, None).unwrap(), [12, 13, 14, 15]);
        assert_eq!(after(LayerKind::Mamba2, 3, 2, Some(4)).to_string(), "after mamba2 start 3 every 2 count 4");
        assert_eq!(after(LayerKind::Attention, 0, 1, None).to_string(), "after attention");
        let words = |refused: Result<Vec<usize>, ScheduleError>| refused.unwrap_err().to_string();
        assert_eq!(
            words(sites(LayerKind::Mamba, 0, 1, None)),
            "it has no layers of the kind mamba; its layers are mamba2 and attention"
        );
        assert_eq!(
            words(sites(LayerKind::Attention, 0, 1, Some(3))),
            "sites after attention count 3 ask for 3, it has 2 (5,11)"
        );
        assert!(words(sites(LayerKind::Attention, 12, 1, None)).ends_with("it has none"));
        assert_eq!(sites(LayerKind::Attention, 0, 0, None), Err(ScheduleError::ZeroStep));
    }

    #[test]
    fn paper_sites_are_the_quoted_ones_and_scale() {
        assert_eq!(Sites::Paper.resolve(&mamba2(64)).unwrap(), [12, 17, 22, 27, 32, 37, 42]);
        assert_eq!(Sites::Paper.resolve(&mamba2(48)).unwrap(), [10, 15, 20, 25, 30, 35]);
        assert_eq!(Sites::Paper.resolve(&mamba2(16)).unwrap(), [3, 4, 6, 7, 8, 9, 11]);
    }

    #[test]
    fn released_default_is_thirty_percent() {
        let sites = Sites::Paper.resolve(&mamba2(64)).unwrap();
        assert!((nominal_flops_reduction(&sites, 64, 0.905) - 0.2984).abs() < 5e-5);
    }

    #[test]
    fn solver_meets_the_derived_ratios() {
        let expected = [(64, [0.9729, 0.9415, 0.9043]), (48, [0.9651, 0.9248, 0.8768])];
        for (n_layer, ratios) in expected {
            let sites = Sites::Paper.resolve(&mamba2(n_layer)).unwrap();
            for (target, ratio) in [0.1, 0.2, 0.3].into_iter().zip(ratios) {
                let solved = solve_keep_ratio(&sites, n_layer, target).unwrap();
                assert!((solved - ratio).abs() < 5e-5, "{n_layer} layers, {target}: {solved} against {ratio}");
                assert!((nominal_flops_reduction(&sites, n_layer, solved) - target).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn short_inputs_are_not_reduced() {
        let keep_ratio = 0.9729;
        assert_eq!(n_keep(keep_ratio, 36), 36);
        assert_eq!(n_keep(keep_ratio, 37), 36);
        assert_eq!(n_keep(1.0, 1000), 1000);
        assert_eq!(n_keep(0.28, 100), 28);
        assert_eq!(n_keep(0.905, 64), 58);
        assert_eq!(n_keep(0.001, 5), 1);
        assert_eq!(n_keep(0.5, 0), 0);
    }

    #[test]
    fn a_share_is_the_last_ones_but_never_all() {
        let of_ten = [0.0, 0.29, 0.5, 0.99, 1.0].map(|share| n_last(share, 10));
        assert_eq!(of_ten, [0, 2, 5, 9, 9]);
        assert_eq!([n_last(1.0, 1), n_last(1.0, 0)], [0, 0]);
    }

    #[test]
    fn impossible_schedules_are_refused() {
        assert_eq!(
            Sites::Explicit(vec![3, 16]).resolve(&mamba2(16)),
            Err(ScheduleError::SiteBeyondModel { site: 16, n_layer: 16 })
        );
        assert!(matches!(Sites::Explicit(vec![3, 3]).resolve(&mamba2(16)), Err(ScheduleError::NotIncreasing { .. })));
        assert!(matches!(Sites::Explicit(vec![]).resolve(&mamba2(16)), Err(ScheduleError::Empty)));
        assert!(matches!(solve_keep_ratio(&[10], 16, 0.5), Err(ScheduleError::Unreachable { .. })));
        assert!(matches!(solve_keep_ratio(&[10], 16, 1.0), Err(ScheduleError::Target(_))));
        assert!((solve_keep_ratio(&[10], 16, 0.0).unwrap() - 1.0).abs() < 1e-12);
    }
}
