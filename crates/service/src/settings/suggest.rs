//! "Did you mean": the known word nearest to an unknown one, if any is near.

/// The known word that `unknown` was probably meant to be.
pub fn did_you_mean<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = plain(unknown);
    let near = (plain.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|it| (distance(&plain, &self::plain(it)), it))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
}

/// Case, dots and underscores are how people differ, not what they mean.
fn plain(text: &str) -> String {
    text.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How many letters have to be typed, removed, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_nonsense_finds_none() {
        let known = ["timezone", "engine.warmMax", "engine.mode"];
        for (typed, meant) in [
            ("timezoen", Some("timezone")),
            ("engine.warm_max", Some("engine.warmMax")),
            ("Engine.Mod", Some("engine.mode")),
            ("colour", None),
        ] {
            assert_eq!(did_you_mean(typed, known), meant, "{typed}");
        }
    }
}
