//! keepalived.conf conformance: the public cases, and keepalived itself where it is installed.

use lb_tests::conformance::Case;

#[test]
fn public_cases_give_the_expected_answers() {
    let cases = Case::all().expect("the cases are part of the repository");
    let (mut passed, mut strict) = (0, 0);
    let mut failures = Vec::new();
    for case in &cases {
        let loaded = case.load();
        let differences = case.differences(&loaded, false);
        passed += usize::from(differences.is_empty());
        strict += usize::from(case.differences(&loaded, true).is_empty());
        if !differences.is_empty() {
            failures.push(format!("{}:\n    {}", case.name(), differences.join("\n    ")));
        }
    }
    println!("conformance: {passed} of {}", cases.len());
    println!("conformance, not-built-yet counted: {strict} of {}", cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(cases.len(), 40);
}

#[test]
fn the_users_sample_means_the_same_however_it_is_written() {
    let cases = Case::all().expect("the cases are part of the repository");
    let models: Vec<_> =
        cases[..4].iter().map(|case| case.load().config.expect("a model")).collect();
    assert!(models.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn keepalived_ends_as_xlb_does_where_they_agree() {
    let required = std::env::var("XLB_REQUIRE")
        .unwrap_or_default()
        .split(',')
        .any(|word| word == "keepalived");
    let cases = Case::all().expect("the cases are part of the repository");
    for case in cases.iter().filter(|case| case.keepalived_agrees()) {
        let exit = match case.keepalived_exit() {
            Ok(exit) => exit,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
                println!("skipped: keepalived is not installed");
                return;
            }
            Err(error) => panic!("cannot run keepalived: {error}"),
        };
        let recorded = case.expected["keepalived"]["config_test_exit"].as_i64();
        assert_eq!(exit.map(i64::from), recorded, "{}: keepalived itself", case.name());
        let verdict = case.expected["verdict"].as_str().unwrap_or("");
        let fits = match recorded {
            Some(0) => verdict == "accept",
            // A broken structure is refused by xlb while keepalived goes on.
            Some(5) => verdict == "warn" || verdict == "reject",
            _ => verdict == "reject",
        };
        assert!(fits, "{}: keepalived ends with {recorded:?}, xlb says {verdict}", case.name());
    }
}
