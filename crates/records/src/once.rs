//! Lists without repetition.

/// Each value once, in order of appearance.
pub fn each_once<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::each_once;

    #[test]
    fn order_is_that_of_appearance() {
        assert_eq!(each_once(["b", "a", "b", "c", "a"]), ["b", "a", "c"]);
    }
}
