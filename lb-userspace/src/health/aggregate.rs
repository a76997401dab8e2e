//! From checkers to a real server: up when none of its checkers is down. Pure.

use std::collections::HashMap;

use super::fsm::Status;
use super::spec::CheckerIdentity;

/// What a real server is, given its checkers; one without checkers is up.
pub fn real_status(checkers: impl IntoIterator<Item = Status>) -> Status {
    if checkers.into_iter().any(|status| status == Status::Down) {
        Status::Down
    } else {
        Status::Up
    }
}

/// The checkers of one real server and what they say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RealHealth {
    checkers: HashMap<CheckerIdentity, Status>,
}

impl RealHealth {
    /// What the real server is.
    pub fn status(&self) -> Status {
        real_status(self.checkers.values().copied())
    }

    /// Takes a checker's word. Returns the real server's new status if that changed. A checker that
    /// [`RealHealth::replace`] did not name is of an older configuration and is not heard.
    pub fn report(&mut self, checker: &CheckerIdentity, status: Status) -> Option<Status> {
        let before = self.status();
        *self.checkers.get_mut(checker)? = status;
        let after = self.status();
        (after != before).then_some(after)
    }

    /// Takes the checkers of a new configuration: those known stay as they are, new ones start as given, the
    /// others are forgotten. Returns the real server's new status if that changed.
    pub fn replace(
        &mut self,
        checkers: impl IntoIterator<Item = (CheckerIdentity, Status)>,
    ) -> Option<Status> {
        let before = self.status();
        let known = std::mem::take(&mut self.checkers);
        for (checker, initial) in checkers {
            let status = known.get(&checker).copied().unwrap_or(initial);
            self.checkers.insert(checker, status);
        }
        let after = self.status();
        (after != before).then_some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::tcp_checker;
    use super::*;

    fn checker(port: u16) -> CheckerIdentity {
        CheckerIdentity::of(&tcp_checker(([192, 0, 2, 1], port).into())).unwrap()
    }

    #[test]
    fn one_checker_down_is_enough() {
        use Status::{Down, Up};
        for (checkers, expected) in [
            (&[][..], Up),
            (&[Up], Up),
            (&[Up, Up], Up),
            (&[Up, Down], Down),
            (&[Down, Down], Down),
        ] {
            assert_eq!(real_status(checkers.iter().copied()), expected, "{checkers:?}");
        }
    }

    #[test]
    fn real_changes_with_the_first_and_the_last_failure() {
        let mut real = RealHealth::default();
        real.replace([(checker(1), Status::Up), (checker(2), Status::Up)]);
        assert_eq!(real.report(&checker(1), Status::Down), Some(Status::Down));
        assert_eq!(real.report(&checker(2), Status::Down), None);
        assert_eq!(real.report(&checker(1), Status::Up), None);
        assert_eq!(real.report(&checker(2), Status::Up), Some(Status::Up));
        assert_eq!(real.report(&checker(3), Status::Down), None);
        assert_eq!(real.status(), Status::Up);
    }

    // K-08
    #[test]
    fn reload_keeps_a_failed_checker_and_forgets_a_removed_one() {
        let mut real = RealHealth::default();
        real.replace([(checker(1), Status::Up), (checker(2), Status::Up)]);
        real.report(&checker(1), Status::Down);
        assert_eq!(real.replace([(checker(1), Status::Up), (checker(2), Status::Up)]), None);
        assert_eq!(real.status(), Status::Down);
        assert_eq!(real.replace([(checker(2), Status::Up)]), Some(Status::Up));
    }

    // K-09
    #[test]
    fn changed_checker_of_a_failed_server_keeps_it_down_until_it_passes() {
        let mut real = RealHealth::default();
        real.replace([(checker(1), Status::Up)]);
        real.report(&checker(1), Status::Down);
        let initial = real.status();
        assert_eq!(real.replace([(checker(2), initial)]), None);
        assert_eq!(real.report(&checker(2), Status::Up), Some(Status::Up));
    }
}
