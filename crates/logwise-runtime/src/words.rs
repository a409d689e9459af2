//! Small things that every report says alike.

/// Entries named in a message.
const MAX_NAMED: usize = 3;

/// The first three, and how many more.
pub fn first_few<T: AsRef<str>>(entries: &[T]) -> String {
    let named = entries.iter().take(MAX_NAMED).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match entries.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The first `most` characters of a text, with a sign if that is not all of it.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text of at most `longest` characters, the sign included.
pub fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let begin: String = text.chars().take(longest.saturating_sub(4)).collect();
    format!("{begin} ...")
}

/// A length as status has it.
pub fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// The text with a capital at its start.
pub fn capital(text: &impl ToString) -> String {
    let text = text.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capital_begins_the_text() {
        assert_eq!(["", "é a", "No"].map(|text| capital(&text)), ["", "É a", "No"]);
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!((shortened("ää", 2).as_str(), shortened("äbc", 2).as_str()), ("ää", "äb..."));
        assert_eq!(cut("ää", 2), "ää");
        assert_eq!(cut("äbcdefghi", 8), "äbcd ...");
    }

    #[test]
    fn a_long_list_is_counted() {
        assert_eq!(first_few(&["a", "b", "c"]), "a, b, c");
        assert_eq!(first_few(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
