//! The join of items by their ids: each has one partner or none.

use std::collections::BTreeMap;

/// Where each id stands. An id that stands twice has no place: nothing says which of the two is meant, so it is paired with nothing.
pub(crate) struct Places<'a>(BTreeMap<&'a str, Option<usize>>);

impl<'a> Places<'a> {
    /// The places of ids in this order.
    pub(crate) fn of(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let mut places = BTreeMap::new();
        for (place, id) in ids.into_iter().enumerate() {
            places.entry(id).and_modify(|known| *known = None).or_insert(Some(place));
        }
        Self(places)
    }

    /// The place of an id that occurs once.
    pub(crate) fn get(&self, id: &str) -> Option<usize> {
        self.0.get(id).copied().flatten()
    }

    /// An id that stands more than once.
    pub(crate) fn repeated(&self) -> Option<&'a str> {
        self.0.iter().find(|(_, place)| place.is_none()).map(|(id, _)| *id)
    }

    /// `(place here, place there)` of every id that occurs once on both sides, in the order of this one.
    pub(crate) fn pairs(&self, other: &Self) -> Vec<(usize, usize)> {
        let mut pairs: Vec<(usize, usize)> =
            self.0.iter().filter_map(|(id, place)| Some(((*place)?, other.get(id)?))).collect();
        pairs.sort_unstable();
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_stands_twice_on_either_side_has_no_partner() {
        let (a, b) = (Places::of(["x", "y", "z", "y", "w"]), Places::of(["w", "z", "x", "x", "y"]));
        assert_eq!((a.repeated(), b.repeated()), (Some("y"), Some("x")));
        assert_eq!((a.get("y"), a.get("z"), a.get("v")), (None, Some(2), None));
        assert_eq!(a.pairs(&b), [(2, 1), (4, 0)]);
        assert_eq!(b.pairs(&a), [(0, 4), (1, 2)]);
    }
}
