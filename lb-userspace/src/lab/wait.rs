//! Waiting for a condition with a deadline, so that nothing in a laboratory relies on "long enough".

use std::time::{Duration, Instant};

use super::LabError;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Calls `probe` until it gives a value; `Err` of the probe is what was seen instead, shown if the time runs out.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, LabError> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if start.elapsed() >= limit => {
                return Err(LabError::Late { what: what.to_owned(), limit, seen });
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_gives_its_value() {
        let mut tries = 0;
        let found = until("third try", Duration::from_secs(5), || {
            tries += 1;
            if tries == 3 { Ok(tries) } else { Err(format!("try {tries}")) }
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn a_condition_that_never_comes_true_says_what_was_seen() {
        let late = until::<()>("never", Duration::from_millis(5), || Err("no".into())).unwrap_err();
        assert_eq!(late.to_string(), "never: not within 5 ms; last seen: no");
    }
}
