//! Texts in order, so that those that another text begins with are found without looking at all of them.

/// Texts with something about each of them.
pub(super) struct Beginnings<'a, T> {
    /// In the order of the texts.
    entries: Vec<Entry<'a, T>>,
}

struct Entry<'a, T> {
    text: &'a str,
    value: T,
    /// The place of the longest other entry that this one begins with; of equal texts, of the one before.
    outer: Option<usize>,
}

impl<T> Default for Beginnings<'_, T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<'a, T> Beginnings<'a, T> {
    /// Puts the texts in order.
    pub fn new(texts: impl IntoIterator<Item = (&'a str, T)>) -> Self {
        let entry = |(text, value)| Entry { text, value, outer: None };
        let mut entries: Vec<Entry<'a, T>> = texts.into_iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.text);
        // Places of the texts that the one looked at may begin with, the longest last.
        let mut open: Vec<usize> = Vec::new();
        for place in 0..entries.len() {
            let text = entries[place].text;
            while open.last().is_some_and(|outer| !text.starts_with(entries[*outer].text)) {
                open.pop();
            }
            entries[place].outer = open.last().copied();
            open.push(place);
        }
        Self { entries }
    }

    /// Everything whose text `text` begins with, the longest first.
    pub fn of(&self, text: &str) -> impl Iterator<Item = &T> {
        // All of them lie before `text`, and the nearest one before it begins with each of them.
        let nearest = self.entries.partition_point(|entry| entry.text <= text).checked_sub(1);
        let outwards = std::iter::successors(nearest, |place| self.entries[*place].outer);
        let entries = outwards.map(|place| &self.entries[place]);
        entries.skip_while(move |entry| !text.starts_with(entry.text)).map(|entry| &entry.value)
    }

    /// Everything whose text begins with `beginning`, in the order of the texts.
    pub fn within(&self, beginning: &str) -> impl Iterator<Item = &T> {
        let first = self.entries.partition_point(|entry| entry.text < beginning);
        self.entries[first..]
            .iter()
            .take_while(move |entry| entry.text.starts_with(beginning))
            .map(|entry| &entry.value)
    }

    /// All texts in their order.
    pub fn all(&self) -> impl Iterator<Item = (&'a str, &T)> {
        self.entries.iter().map(|entry| (entry.text, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 9] = ["b", "", "ab", "a", "abc", "ab", "b/x", "ac", "ä"];

    #[test]
    fn all_beginnings_are_found_the_longest_first() {
        let beginnings = Beginnings::new(TEXTS.iter().map(|text| (*text, *text)));
        for text in ["", "a", "ab", "abb", "abcd", "ac", "b", "b/", "b/xy", "c", "äh", "zz"] {
            let mut slow: Vec<&str> = TEXTS.into_iter().filter(|other| text.starts_with(other)).collect();
            slow.sort_by_key(|other| std::cmp::Reverse(other.len()));
            assert_eq!(beginnings.of(text).copied().collect::<Vec<_>>(), slow, "{text:?}");
            let mut longer: Vec<&str> = TEXTS.into_iter().filter(|other| other.starts_with(text)).collect();
            longer.sort_unstable();
            assert_eq!(beginnings.within(text).copied().collect::<Vec<_>>(), longer, "{text:?}");
        }
        assert_eq!(Beginnings::<()>::new([]).of("a").count(), 0);
    }
}
