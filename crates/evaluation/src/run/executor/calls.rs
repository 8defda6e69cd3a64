//! What runs together: documents at the start, children after a site.

/// Splits parts into packed calls: at most `most` rows each, or one part. Those of one operation run together as far as they can:
/// each operation plans the rows of a call by itself, so a call that mixed them all would be planned once for each. Another operation
/// joins a call that is less than half full. Parts without an operation keep their order and fill every call.
pub(super) fn calls<T, O: Ord + Copy>(
    parts: Vec<T>,
    operation: impl Fn(&T) -> Option<O>,
    rows: impl Fn(&T) -> usize,
    most: usize,
) -> Vec<Vec<T>> {
    let mut parts: Vec<(Option<O>, T)> = parts.into_iter().map(|part| (operation(&part), part)).collect();
    // Parts of one operation stay in their order.
    parts.sort_by_key(|(operation, _)| *operation);
    let mut calls: Vec<Vec<T>> = Vec::new();
    let (mut size, mut last) = (0, None);
    for (operation, part) in parts {
        let own = rows(&part);
        let fits = size + own <= most && (size < most / 2 || operation == last);
        match calls.last_mut() {
            Some(call) if fits => call.push(part),
            _ => {
                calls.push(vec![part]);
                size = 0;
            }
        }
        size += own;
        last = operation;
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts as operation, document and rows, to the operations and documents of each call.
    fn split(children: &[(usize, char, usize)], most: usize) -> Vec<String> {
        let calls = calls(children.to_vec(), |child| Some(child.0), |child| child.2, most);
        let names = |call: Vec<(usize, char, usize)>| {
            call.into_iter()
                .map(|(operation, document, _)| format!("{operation}{document}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        calls.into_iter().map(names).collect()
    }

    #[test]
    fn a_call_holds_one_operation_of_many_documents() {
        let children = [(0, 'a', 40), (1, 'a', 36), (2, 'a', 30), (0, 'b', 50), (1, 'b', 45), (2, 'b', 35)];
        assert_eq!(split(&children, 100), ["0a 0b", "1a 1b", "2a 2b"]);
    }

    #[test]
    fn what_does_not_fit_goes_into_the_next_call() {
        let children = [(0, 'a', 60), (0, 'b', 60), (1, 'a', 55), (1, 'b', 130), (1, 'c', 1)];
        assert_eq!(split(&children, 100), ["0a", "0b", "1a", "1b", "1c"]);
    }

    #[test]
    fn small_operations_share_a_call_until_it_is_half_full() {
        let children = [(2, 'a', 20), (0, 'a', 20), (1, 'a', 20), (3, 'a', 20), (3, 'b', 40)];
        assert_eq!(split(&children, 100), ["0a 1a 2a", "3a 3b"]);
        assert!(split(&[], 100).is_empty());
    }

    #[test]
    fn without_operations_calls_are_filled_in_order() {
        let calls = calls(vec![60, 30, 20, 90, 200, 5], |_| None::<()>, |rows| *rows, 100);
        assert_eq!(calls, [vec![60, 30], vec![20], vec![90], vec![200], vec![5]]);
    }
}
