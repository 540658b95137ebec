//! Tests of what is said of a gate and of how it is believed.

use super::*;
use crate::night::Baseline;

#[test]
fn how_a_gate_is_believed_can_be_set() {
    let gate = good("gate: {baseline: compare, flaky_reruns: 5, canary: ./ci/break.patch}").gate;
    assert_eq!((gate.baseline, gate.flaky_reruns), (Baseline::Compare, 5));
    assert_eq!(gate.canary, CanarySetting::Patch("ci/break.patch".into()));
    assert_eq!(good("gate: {canary: off}").gate.canary, CanarySetting::Off);
    let default = Settings::default().gate;
    assert_eq!(good("gate: {canary: auto}").gate, default);
    assert_eq!(
        (default.canary, default.baseline, default.flaky_reruns),
        (CanarySetting::Auto, Baseline::Green, 1)
    );
    let steps = "gate: {steps: [{name: a, run: b, junit: ./target/junit.xml}]}";
    assert_eq!(good(steps).gate.steps[0].junit.as_deref(), Some("target/junit.xml"));
    for (text, caret) in [
        ("gate: {baseline: red}", "red"),
        ("gate: {flaky_reruns: 6}", "6"),
        ("gate: {canary: no}", "no"),
        ("gate: {canary: ../break.patch}", "../break.patch"),
        ("gate: {canary: src/lib.rs}", "src/lib.rs"),
        ("gate: {steps: [{name: a, run: b, junit: /tmp/junit.xml}]}", "/tmp/junit.xml"),
        ("gate: {steps: [{name: a, run: b, junit: a/../../junit.xml}]}", "a/../../junit.xml"),
    ] {
        assert_eq!(only(text), ("C004", caret), "{text}");
    }
}

#[test]
fn the_own_file_may_leave_the_canary_out_and_repeat_less() {
    let own = |text: &str| parse_user("own.yml", text).unwrap().gate;
    assert_eq!(own("sandbox: auto"), UserGate::default());
    let off = own("gate: {canary: off, flaky_reruns: 3}");
    assert_eq!(off, UserGate { canary_off: true, flaky_reruns: Some(3) });
    assert!(!own("gate: {canary: auto}").canary_off);
    for text in ["gate: {canary: a.patch}", "gate: {flaky_reruns: 6}", "gate: {steps: make}"] {
        assert_eq!(parse_user("own.yml", text).unwrap_err().len(), 1, "{text}");
    }
    let here = |repository: &str| good(repository).gate_here(off);
    assert_eq!(here("gate: {canary: a.patch}").canary, CanarySetting::Off);
    assert_eq!(here("version: 1").flaky_reruns, 3, "no repository says a number");
    assert_eq!(here("gate: {flaky_reruns: 1}").flaky_reruns, 1, "the stricter holds");
    assert_eq!(here("gate: {flaky_reruns: 5}").flaky_reruns, 3);
    let nothing = good("gate: {canary: a.patch}").gate_here(UserGate::default());
    assert_eq!(nothing, good("gate: {canary: a.patch}").gate);
}
