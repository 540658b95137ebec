//! What is on the disk before the journal says so: the calls of our doors and of libgit2, in their order.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::{
    doors::{preloaded, shim},
    scene::{STORIES, Scene, said},
};

/// Everything that an event names as a commit, tree or blob of ours.
fn hashes(event: &Value, found: &mut BTreeSet<String>) {
    match event {
        Value::String(text)
            if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| hashes(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| hashes(field, found)),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

#[test]
fn objects_and_refs_are_on_the_disk_before_the_journal_names_them() {
    let Some(library) = shim() else { return };
    for story in STORIES {
        let scene = Scene::new(story);
        let trace = scene.night.path("trace");
        let mut command = preloaded(&scene, &library);
        command.env("NIGHTSHIFT_FAULTS_TRACE", &trace).env("SHIM_TRACE", &trace);
        let output = command.output().unwrap();
        let trace = fs::read_to_string(&trace).unwrap();
        let journal = fs::read_to_string(scene.night.journal().unwrap()).unwrap();
        let events: Vec<Value> =
            journal.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        // A file is on the disk when its bytes were synced and then its name was set, and then the name was synced.
        let (mut synced, mut named, mut durable) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        let (mut written, mut ordered) = (0, false);
        let mut objects = 0;
        for line in trace.lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            match parts[0] {
                "c.sync" => {
                    synced.insert(parts[1].to_owned());
                    let (gone, rest): (Vec<String>, Vec<String>) =
                        named.drain(..).partition(|path: &String| {
                            path.rsplit_once('/').unwrap().0 == parts[1].trim_end_matches('/')
                        });
                    durable.extend(gone);
                    named = rest;
                }
                "c.rename" | "c.link" if synced.contains(parts[1]) => {
                    named.push(parts[2].to_owned());
                }
                "journal.write" => {
                    let seq: usize = parts[1].parse().unwrap();
                    let event = &events[seq - 1]["event"];
                    ordered |= event["began"].is_object();
                    written += 1;
                    let mut wanted = BTreeSet::new();
                    hashes(event, &mut wanted);
                    for hash in wanted {
                        let name = format!("objects/{}/{}", &hash[..2], &hash[2..]);
                        let ours = |path: &&String| path.ends_with(&name);
                        // Those of the person's own commits were there before.
                        if scene.vault().join(&name).exists() && !scene.older(&hash) {
                            objects += 1;
                            assert!(
                                durable.iter().any(|path| ours(&path)),
                                "{story:?}: entry {seq} names {hash} too soon:\n{trace}\n{}",
                                said(&output)
                            );
                        }
                    }
                    if let Some(commit) = event["landed"]["commit"].as_str() {
                        let here = "repos/";
                        let branch = durable.iter().any(|path: &String| {
                            path.contains(here) && path.contains("vault.git/refs/heads/nightshift/")
                        });
                        assert!(branch, "{story:?}: {commit} landed before its branch:\n{trace}");
                    }
                }
                "journal.synced" => ordered = false,
                // Nothing is done on an order that the disk may not have.
                "process.start" | "land.begun" | "attempt.kept" | "publish.written" => {
                    assert!(!ordered, "{story:?}: `{line}` before its order was synced:\n{trace}");
                }
                _ => {}
            }
        }
        assert!(written > 4 && objects > 2, "{story:?}: {written} entries, {objects} objects");
    }
}
