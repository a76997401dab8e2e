//! `~SEQ` and `~LST`: one line read once for each value. keepalived-spec section 2.8; keepalived: `lib/parser.c`.

use super::text::Text;

/// Names and the tuples of values they take, one tuple a round.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub names: Vec<String>,
    pub values: Values,
    /// The line to repeat.
    pub rest: Text,
}

/// Values, produced one by one.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Numbers { next: i64, step: i64, left: u64, hexadecimal: bool },
    Tuples(std::vec::IntoIter<Vec<String>>),
}

impl Iterator for Values {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        match self {
            Self::Tuples(tuples) => tuples.next(),
            Self::Numbers { next, step, left, hexadecimal } => {
                *left = left.checked_sub(1)?;
                let value = if *hexadecimal { format!("{next:x}") } else { next.to_string() };
                *next = next.saturating_add(*step);
                Some(vec![value])
            }
        }
    }
}

/// Which kind of line it is, and where the arguments start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    list: bool,
    hexadecimal: bool,
    start: usize,
    end: usize,
}

impl Head {
    /// The range of the arguments between the parentheses.
    pub(super) const fn arguments(self) -> (usize, usize) {
        (self.start, self.end)
    }
}

/// Recognises a sequence line. `Some(Err)`: it starts like one but its parenthesis is never closed.
pub(super) fn head(line: &str) -> Option<Result<Head, &'static str>> {
    let (list, hexadecimal, skip) = if line.starts_with("~SEQx(") {
        (false, true, 6)
    } else if line.starts_with("~SEQ(") {
        (false, false, 5)
    } else if line.starts_with("~LST(") {
        (true, false, 5)
    } else {
        return None;
    };
    let close = line[skip..].find(')').ok_or("the closing parenthesis is missing");
    Some(close.map(|close| Head { list, hexadecimal, start: skip, end: skip + close }))
}

/// Reads the arguments, in which definitions are replaced already.
pub(super) fn parse(
    head: Head,
    arguments: &str,
    rest: Text,
    most: u64,
) -> Result<Sequence, String> {
    let (names, values) = if head.list {
        list(arguments)?
    } else {
        let (name, values) = numbers(arguments, head.hexadecimal, most)?;
        (vec![name], values)
    };
    for name in &names {
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("`{name}` is no name for a variable"));
        }
    }
    Ok(Sequence { names, values, rest })
}

fn numbers(arguments: &str, hexadecimal: bool, most: u64) -> Result<(String, Values), String> {
    let mut parts = arguments.split(',').map(str::trim_ascii);
    let name = parts.next().unwrap_or("").to_owned();
    let numbers = parts.map(number).collect::<Result<Vec<i64>, String>>()?;
    let towards = |from: i64, to: i64| if to < from { -1 } else { 1 };
    let (start, step, end) = match numbers[..] {
        [end] => {
            let start = if end < 0 { -1 } else { 1 };
            (start, towards(start, end), end)
        }
        [start, end] => (start, towards(start, end), end),
        [start, step, end] => (start, step, end),
        _ => return Err("a sequence needs a name and one to three numbers".to_owned()),
    };
    if step == 0 || (start != end && (end > start) != (step > 0)) {
        return Err(format!("the step {step} never leads from {start} to {end}"));
    }
    if hexadecimal && (start < 0 || end < 0) {
        return Err("hexadecimal sequences can't be negative".to_owned());
    }
    let left = start.abs_diff(end) / step.unsigned_abs() + 1;
    if left > most {
        return Err(format!(
            "{left} repetitions are more than the {most} lines a file may expand to"
        ));
    }
    Ok((name, Values::Numbers { next: start, step, left, hexadecimal }))
}

/// Decimal, `0x` or octal with a leading 0.
fn number(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X"))
    {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let value = plain.then(|| i64::from_str_radix(digits, radix).ok()).flatten();
    let value = value.ok_or_else(|| format!("`{text}` is not a number"))?;
    Ok(if negative { -value } else { value })
}

fn list(arguments: &str) -> Result<(Vec<String>, Values), String> {
    let items = items(arguments)?;
    let Some((first, rest)) = items.split_first() else {
        return Err("a list needs a name and values".to_owned());
    };
    let names = first.clone();
    let mut tuples = Vec::with_capacity(rest.len());
    for item in rest {
        let mut tuple = item.clone();
        if tuple.len() > names.len() {
            return Err(format!("{} values for {} names", tuple.len(), names.len()));
        }
        tuple.resize(names.len(), String::new());
        tuples.push(tuple);
    }
    Ok((names, Values::Tuples(tuples.into_iter())))
}

/// Splits at commas outside braces; an item in braces is a tuple.
fn items(arguments: &str) -> Result<Vec<Vec<String>>, String> {
    let mut items = Vec::new();
    let mut rest = arguments.trim_ascii();
    loop {
        if let Some(inside) = rest.strip_prefix('{') {
            let close = inside.find('}').ok_or("a brace in the list is not closed")?;
            items.push(
                inside[..close].split(',').map(|part| part.trim_ascii().to_owned()).collect(),
            );
            rest = inside[close + 1..].trim_ascii_start();
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            items.push(vec![rest[..end].trim_ascii().to_owned()]);
            rest = &rest[end..];
        }
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_ascii_start(),
            None if rest.is_empty() => return Ok(items),
            None => return Err(format!("`{rest}` after a brace in the list")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, head, parse};

    fn values(line: &str) -> Result<Vec<Vec<String>>, String> {
        let head = head(line).expect("a sequence").map_err(str::to_owned)?;
        let (start, end) = head.arguments();
        Ok(parse(head, &line[start..end], Text::default(), 1000)?.values.collect())
    }

    #[test]
    fn numbers_run_inclusive_and_in_the_order_start_step_end() {
        for (line, expected) in [
            ("~SEQ(V, 3)", "1 2 3"),
            ("~SEQ(V, -2)", "-1 -2"),
            ("~SEQ(V, 0x10, 14)", "16 15 14"),
            ("~SEQ(V, 10, -5, 0)", "10 5 0"),
            ("~SEQx(V, 9, 11)", "9 a b"),
            ("~SEQ(V, 010, 010)", "8"),
            ("~LST(P, a, b)", "a b"),
            ("~LST({A,B}, {1,2}, {3})", "1,2 3,"),
        ] {
            let got: Vec<String> =
                values(line).expect(line).iter().map(|tuple| tuple.join(",")).collect();
            assert_eq!(got.join(" "), expected, "{line}");
        }
    }

    #[test]
    fn senseless_sequences_are_refused() {
        for line in [
            "~SEQ(V, 1, 0, 5)",
            "~SEQ(V, 1, -1, 5)",
            "~SEQ(V, x)",
            "~SEQ(V)",
            "~SEQ(V, 1, 1000000000)",
            "~SEQ(V, -9223372036854775807, 9223372036854775807)",
            "~LST({A}, {1,2})",
            "~SEQx(V, -1, 1)",
            "~SEQ(V, 1",
        ] {
            assert!(values(line).is_err(), "{line}");
        }
    }
}
