//! From the path of a key, `plan[0].charge[2].tiers[1].up_to`, to its line in the file.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Line and column (from 1) of a byte offset.
#[must_use]
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

/// Offset of the value at `path`, or of the nearest table above it that exists.
#[must_use]
pub fn offset_of(text: &str, path: &str) -> usize {
    let Ok(root) = DeTable::parse(text) else { return 0 };
    let mut found = 0;
    let mut table = Some(root.get_ref());
    for segment in path.split('.') {
        let (name, index) = match segment.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (segment, None),
        };
        let Some(value) = table.and_then(|table| entry(table, name)) else { break };
        let element = match (index, value.get_ref()) {
            (Some(index), DeValue::Array(items)) => items.get(index),
            _ => Some(value),
        };
        let Some(element) = element else { break };
        found = element.span().start;
        table = match element.get_ref() {
            DeValue::Table(inner) => Some(inner),
            _ => None,
        };
    }
    found
}

fn entry<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    table.iter().find(|(key, _)| key.get_ref().as_ref() == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_lines() {
        let text = "[book]\nname = \"x\"\n\n[[plan]]\nkey = \"a\"\n[[plan.charge]]\ntiers = [\n  { up_to = 10 },\n  { up_to = 5 },\n]\n";
        let line = |path: &str| line_and_column(text, offset_of(text, path)).0;
        assert_eq!(line("book.name"), 2);
        assert_eq!(line("plan[0].charge[0].tiers[1].up_to"), 9);
        assert_eq!(line("plan[0].charge[0].missing"), 6);
        assert_eq!(line("nothing"), 1);
    }
}
