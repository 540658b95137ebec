//! Reports of real nights, in every form: asked for afterwards, and written at a night's end.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::Value;

use crate::support::night::{Ran, TestNight};

/// A title that would be a script, a formula and a link.
const TITLE: &str = "=1+1 </title><script>alert(1)</script> \"quoted\", [x](http://evil)";

/// `a` lands on its second try, `b` fails, `c` is held.
fn mixed() -> TestNight {
    let night = TestNight::new()
        .task("a", TITLE)
        .task("b", "Never passes")
        .task("c", "Make it run")
        .agent(
            "case $NIGHTSHIFT_TASK in
            a) if [ $NIGHTSHIFT_ATTEMPT = 1 ]; then echo broken; else echo good; fi > src/from_a.txt;;
            b) echo broken $NIGHTSHIFT_ATTEMPT > src/b.txt;;
            c) chmod +x src/a.txt;;
            esac",
        );
    fs::create_dir(night.path("out")).unwrap();
    night
}

/// Arguments that write a report with each of these endings.
fn reports(directory: &Path, endings: &[&str]) -> Vec<String> {
    let file = |ending: &&str| directory.join(format!("night.{ending}")).display().to_string();
    endings.iter().flat_map(|ending| ["--report".to_owned(), file(ending)]).collect()
}

fn run(night: TestNight, arguments: &[String]) -> Ran {
    night.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn written(directory: &Path, ending: &str) -> String {
    let path = directory.join(format!("night.{ending}"));
    fs::read_to_string(&path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_night_writes_every_report_at_its_end_and_show_says_the_same() {
    let night = mixed();
    let out = night.path("out");
    let endings = ["txt", "md", "html", "json", "xml", "sarif", "prom", "csv"];
    let night = run(night, &reports(&out, &endings)).exit(1).landed(["a"]).then();
    for ending in endings {
        assert!(!written(&out, ending).is_empty(), "{ending}");
    }
    for (format, ending) in [
        ("md", "md"),
        ("html", "html"),
        ("junit", "xml"),
        ("sarif", "sarif"),
        ("prom", "prom"),
        ("csv", "csv"),
    ] {
        let output = night.command(&["show", "--format", format]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), written(&out, ending), "{format}");
    }
    assert!(written(&out, "txt").contains("LANDED 1"));
    let json: Value = serde_json::from_str(&written(&out, "json")).unwrap();
    assert_eq!(json["schema"], "nightshift.show/1");
    assert_eq!(json["data"]["landed"], serde_json::json!(["a"]));
    let sarif: Value = serde_json::from_str(&written(&out, "sarif")).unwrap();
    let rules: Vec<&str> = sarif["runs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["ruleId"].as_str().unwrap())
        .collect();
    assert!(rules.contains(&"inspection.mode"), "{rules:?}");
    let csv = written(&out, "csv");
    assert!(csv.contains("\"'=1+1 </title>") && csv.lines().count() >= 6, "{csv}");
    assert!(written(&out, "prom").contains("result=\"held\"} 1\n"));
    let xml = written(&out, "xml");
    assert!(xml.contains("failures=\"1\"") && xml.contains("<flakyFailure"), "{xml}");
    let html = written(&out, "html");
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;alert(1)"), "{html}");
    // What a person asked for others may read; what lies with the night is the owner's.
    let kept = night.journal().unwrap().with_file_name("report.html");
    assert_eq!(fs::read_to_string(&kept).unwrap(), html);
    assert_eq!(mode(&kept), 0o600);
    let probe = out.join("probe");
    fs::write(&probe, "").unwrap();
    assert_eq!(mode(&out.join("night.prom")), mode(&probe), "as the umask says");
    // Without a screen the path is all there is to say.
    let ran = night.call(&["show", "--web"]).exit(0);
    assert_eq!(ran.all().trim(), kept.display().to_string());
    let ran = ran.then().call(&["status", "--web"]).exit(0);
    assert_eq!(ran.all().trim(), kept.display().to_string());
}

#[test]
fn a_task_alone_and_a_file_of_its_own() {
    let night = mixed().run(&[]).exit(1).then();
    let file = night.path("out").join("b.xml").display().to_string();
    let night = night.call(&["show", "b", "-o", &file]).exit(0).then();
    let xml = fs::read_to_string(&file).unwrap();
    assert!(xml.contains("name=\"b Never passes\"") && !xml.contains("name=\"c "), "{xml}");
    let night =
        night.call(&["show", "b", "--format", "json"]).exit(0).says("\"stage\":\"failed\"").then();
    let link = night.path("out").join("link.csv");
    std::os::unix::fs::symlink(night.path("out").join("real.csv"), &link).unwrap();
    fs::write(night.path("out").join("real.csv"), "old").unwrap();
    let night = night.call(&["show", "-o", &link.display().to_string()]).exit(0).then();
    assert!(link.is_symlink() && fs::read_to_string(&link).unwrap().starts_with("night,task"));
    for (arguments, words) in [
        (&["show", "b", "--format", "md"][..], "md is of a whole night"),
        (&["show", "-o", "x.docx"], "names no format"),
        (&["show", "-o", "/dev/null", "--format", "csv"], "is no file"),
        (&["show", "-o", "/nowhere/x.csv"], "has no directory to be in"),
        (&["show", "--json", "--format", "csv"], "are two formats"),
        (&["show", "b@1", "--format", "csv"], "has every try of a task"),
        (&["show", "--format", "pdf"], "possible values"),
        (&["show", "--diff", "-o", "x.csv"], "cannot be used with"),
        (&["run", "--report", "x.docx"], "names no format"),
        (&["run", "--report", "/nowhere/x.csv"], "has no directory to be in"),
    ] {
        let output = night.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn a_night_that_could_not_start_is_in_error_in_its_reports() {
    let night = mixed().gate("#!/bin/sh\nexit 1\n");
    let out = night.path("out");
    let ran = run(night, &reports(&out, &["xml", "prom", "html"])).exit(3);
    assert!(written(&out, "xml").contains("errors=\"1\""), "{}", written(&out, "xml"));
    assert!(written(&out, "prom").contains("exit_code{repository=\""));
    let exit = written(&out, "prom")
        .lines()
        .any(|line| line.contains("exit_code{") && line.ends_with(" 3"));
    assert!(exit, "{}", written(&out, "prom"));
    assert!(written(&out, "html").contains("The gate is red on the base"), "{}", ran.all());
}

#[test]
fn a_report_that_cannot_be_written_is_a_note_and_not_a_failure() {
    let night = TestNight::new().tier("off").task("a", "Do it");
    let out = night.path("out");
    fs::create_dir(&out).unwrap();
    let night = night.agent(&format!("echo a > src/from_a.txt; rmdir '{}'", out.display()));
    run(night, &reports(&out, &["csv"]))
        .exit(0)
        .landed(["a"])
        .says("note: no report")
        .says("has no directory to be in");
}

#[test]
fn a_secret_of_the_environment_is_in_no_report() {
    let secret = "kJ8s2Lq9Zx7Wv4Rt6Yu1";
    let file = format!("src/{secret}.txt");
    let night = TestNight::new()
        .env("NPM_TOKEN", secret)
        .file(&file, "x\n")
        .task("a", "Make it run")
        .agent(&format!("chmod +x {file}"));
    let out = night.path("out");
    fs::create_dir(&out).unwrap();
    let endings = ["md", "html", "xml", "sarif", "prom", "csv", "txt"];
    let _ran = run(night, &reports(&out, &endings)).exit(1).says("held=1");
    for ending in endings {
        let text = written(&out, ending);
        assert!(!text.contains(secret), "{ending}: {text}");
    }
    assert!(written(&out, "csv").contains("became executable"), "the rest of the words is there");
}
