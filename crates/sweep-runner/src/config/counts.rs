//! Which blocks of `schedule` are for which strategies: a rule of free count takes sites alone, or has its threshold calibrated; every
//! other rule needs to be told how many tokens it keeps.

use reduction_strategies::Count;

use super::error::Fault;
use super::experiment::Variant;
use super::wire::{WireAmounts, WireSchedule, WireStrategy};

/// Refuses a strategy that no block is for, and a block that is for no strategy.
pub(super) fn check(blocks: &[WireSchedule], entries: &[WireStrategy], variants: &[Variant]) -> Result<(), Fault> {
    let is_free = |block: &WireSchedule| matches!(block.amounts, WireAmounts::Free | WireAmounts::Calibrated(_));
    let reducing = || variants.iter().filter(|variant| !variant.is_dense());
    let (frees, others) = (reducing().any(Variant::is_free), reducing().any(|variant| !variant.is_free()));
    for block in blocks {
        match block.amounts {
            WireAmounts::Free if !frees => {
                return Err(Fault::new(block.span, "a schedule needs flops_reduction or keep_ratio")
                    .label("in this map")
                    .hint("for example `flops_reduction: [0.1, 0.2, 0.3]`"));
            }
            WireAmounts::Calibrated(_) if !frees => {
                return Err(Fault::new(block.span, "no strategy has a threshold to calibrate: no count is free")
                    .label("for no strategy")
                    .hint(
                        "list one whose count is free, such as top_p, or write `flops_reduction: { achieved: .. }`",
                    ));
            }
            WireAmounts::FlopsReduction(_) | WireAmounts::AchievedReduction(_) | WireAmounts::KeepRatio(_)
                if frees && !others =>
            {
                return Err(Fault::new(block.span, "the data decides how many tokens these strategies keep")
                    .label("no strategy takes this")
                    .hint("write the sites alone, or `calibrate: { achieved: 0.2 }` beside them"));
            }
            _ => {}
        }
    }
    for entry in entries {
        let mut own = reducing().filter(|variant| variant.strategy.registration.name == entry.name.value);
        let name = &entry.name.value;
        if own.clone().any(Variant::is_free) && !blocks.iter().any(is_free) {
            return Err(entry
                .name
                .fault(format!("`{name}` takes no keep_ratio or flops_reduction: the data decides how many tokens it keeps"))
                .label("its count is free")
                .hint("add a block with sites alone: `schedule: [{ sites: paper }, ..]`; `calibrate: { achieved: 0.2 }` beside the sites \
                       finds its threshold"));
        }
        if own.clone().any(|variant| !variant.is_free()) && blocks.iter().all(is_free) {
            return Err(entry
                .name
                .fault(format!("`{name}` needs to be told how many tokens it keeps"))
                .label("no block is for it")
                .hint("add a block with an amount: `schedule: [{ sites: paper, flops_reduction: 0.2 }, ..]`"));
        }
        let calibrates = blocks.iter().any(|block| matches!(block.amounts, WireAmounts::Calibrated(_)));
        let has_none = |variant: &Variant| variant.strategy.rule().count() == Count::Free { threshold: None };
        if calibrates && own.any(has_none) {
            return Err(entry
                .name
                .fault(format!("`{name}` has no threshold that could be calibrated"))
                .label("no threshold")
                .hint(
                    "remove `calibrate`, or have the rule declare the option that decides how many tokens are kept",
                ));
        }
    }
    Ok(())
}
