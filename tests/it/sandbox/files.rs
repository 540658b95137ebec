//! Which files a program behind walls sees, and what becomes of those that it writes.

use std::{fs, os::unix::fs::symlink};

use nightshift::{
    process::Error,
    sandbox::{Overlay, Tier},
};

use super::Scene;

#[tokio::test]
async fn a_program_sees_only_what_is_named() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    let named = scene.write("named/file", "text");
    scene.write("other/file", "text");
    scene.walls.read.push(named.parent().unwrap().into());
    scene.walls.read.push("/no/such/place".into());
    assert_eq!(
        scene
            .said("ls /; ls {}; cat {}/named/file; ls -A /tmp /var/tmp /run /dev /sys/devices")
            .await,
        "bin\ndev\netc\nlib\nlib64\nproc\nrun\nsbin\nsys\ntmp\nusr\nvar\nnamed\nwork\ntext\
         /dev:\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero\n\n\
         /run:\n\n/sys/devices:\nsystem\n\n/tmp:\n.tmp\n\n/var/tmp:\n.tmp\n"
            .replace(".tmp", scene.dir.path().file_name().unwrap().to_str().unwrap())
    );
}

#[tokio::test]
async fn nothing_outside_is_written_and_what_is_written_inside_arrives() {
    for mut scene in Scene::each() {
        scene.write("named/file", "text");
        scene.walls.read.push(scene.path("named"));
        let script = "for file in {}/named/file {}/named/new /new /etc/new /usr/new; do \
            (echo x >>$file) 2>/dev/null && echo $file; done; \
            (echo x >{}/new) 2>/dev/null; rm -f {}/named/file 2>/dev/null; \
            echo yes >new; mkdir -p a/b; echo deep >a/b/c; mv a d; cat d/b/c";
        assert_eq!(scene.said(script).await, "deep\n", "{:?}", scene.walls.tier);
        assert_eq!(fs::read_to_string(scene.path("named/file")).unwrap(), "text");
        assert_eq!(fs::read_to_string(scene.path("work/new")).unwrap(), "yes\n");
        assert_eq!(fs::read_to_string(scene.path("work/d/b/c")).unwrap(), "deep\n");
        assert!(!scene.path("new").exists());
    }
}

#[tokio::test]
async fn modes_and_times_outside_stay_as_they_are() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    scene.walls.read.push(scene.write("named/file", "text"));
    let said = scene.said("chmod 777 {}/named/file; touch {}/named/file; chmod 777 /").await;
    assert_eq!(said.matches("Read-only file system").count(), 3, "{said}");
}

#[tokio::test]
async fn temporary_files_go_to_the_private_directory() {
    let Some(scene) = Scene::new(Tier::T2) else { return };
    let said =
        scene.said("echo a >/tmp/a; cat /var/tmp/a; echo s >/dev/shm/s; cat /dev/shm/s").await;
    assert_eq!(said, "a\ns\n");
    assert_eq!(fs::read_to_string(scene.path("tmp/a")).unwrap(), "a\n");
}

#[tokio::test]
async fn what_is_hidden_is_empty() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    scene.write("home/credentials", "secret");
    scene.write("home/.ssh/id", "secret");
    scene.write("home/settings", "open");
    scene.walls.read.push(scene.path("home"));
    scene.walls.hidden = ["home/credentials", "home/.ssh", "home/no", "elsewhere"]
        .map(|name| scene.path(name))
        .into();
    let script = "cd {}/home; cat credentials; ls -A .ssh; cat .ssh/id 2>/dev/null; cat settings; \
        (echo x >credentials) 2>/dev/null && echo written; (: >.ssh/new) 2>/dev/null && echo made; \
        rm -rf credentials .ssh 2>/dev/null; echo; ls -A";
    assert_eq!(scene.said(script).await, "open\n.ssh\ncredentials\nsettings\n");
    assert_eq!(fs::read_to_string(scene.path("home/.ssh/id")).unwrap(), "secret");
}

#[tokio::test]
async fn layers_are_one_directory_and_changes_are_in_the_upper_one() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    // Names that are something else in mount options.
    scene.write("base: one,two/file", "base\n");
    scene.write("base: one,two/gone", "base\n");
    scene.write("base: one,two/dir/kept", "base\n");
    scene.write("middle/file", "middle\n");
    scene.write("middle/only", "middle\n");
    let overlay = Overlay {
        at: scene.make_dir("ws"),
        lower: vec![scene.path("middle"), scene.path("base: one,two")],
        upper: scene.make_dir("change\\s/upper"),
        work: scene.make_dir("change\\s/work"),
    };
    scene.walls.overlays.push(overlay);
    let script =
        "cd {}/ws; cat file only dir/kept; echo edited >>file; rm gone; echo new >dir/new; ls";
    assert_eq!(scene.said(script).await, "middle\nmiddle\nbase\ndir\nfile\nonly\n");
    let read = |name: &str| fs::read_to_string(scene.path(name)).unwrap();
    assert_eq!(read("change\\s/upper/file"), "middle\nedited\n");
    assert_eq!(read("change\\s/upper/dir/new"), "new\n");
    assert_eq!(
        (read("middle/file"), read("base: one,two/gone")),
        ("middle\n".into(), "base\n".into())
    );
    assert!(fs::read_dir(scene.path("ws")).unwrap().next().is_none());
    // What was changed is there the next time.
    assert_eq!(
        scene.said("cat {}/ws/file; ls {}/ws/gone 2>/dev/null; true").await,
        "middle\nedited\n"
    );
}

#[tokio::test]
async fn a_hundred_layers_fit_and_more_than_the_kernel_takes_are_an_error() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    let mut lower = Vec::new();
    for number in 0..100 {
        scene.write(&format!("layers-with-a-long-name-{number}/{number}"), "");
        lower.push(scene.path(&format!("layers-with-a-long-name-{number}")));
    }
    let (at, upper, work) = (scene.make_dir("ws"), scene.make_dir("up"), scene.make_dir("wk"));
    scene.walls.overlays.push(Overlay { at, lower, upper, work });
    assert_eq!(scene.said("ls {}/ws | wc -l").await, "100\n");
    let lower = &mut scene.walls.overlays[0].lower;
    lower.extend(lower.clone());
    let error = scene.error(scene.sh("true")).await;
    assert!(error.to_string().contains("200 layers are more than the kernel takes"), "{error}");
}

#[tokio::test]
async fn what_is_nested_works_whatever_the_order() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    scene.write("home/file", "read");
    scene.write("home/cache/secret", "hidden");
    scene.write("home/cache/deep/fixed", "fixed");
    scene.write("home/cache/ws/nothing", "covered");
    scene.write("lower/layer", "layer");
    scene.walls.write = vec![scene.path("home/cache"), scene.path("work")];
    scene.walls.read = vec![scene.path("home/cache/deep"), scene.path("home")];
    scene.walls.read.extend(super::SYSTEM.map(Into::into));
    scene.walls.hidden = vec![scene.path("home/cache/secret")];
    scene.walls.overlays = vec![Overlay {
        at: scene.path("home/cache/ws"),
        lower: vec![scene.path("lower")],
        upper: scene.make_dir("up"),
        work: scene.make_dir("wk"),
    }];
    let script = "cd {}/home; cat file cache/secret cache/deep/fixed; ls cache/ws; \
        (echo x >>file) 2>/dev/null && echo file; (echo x >cache/deep/y) 2>/dev/null && echo deep; \
        echo mine >cache/mine; echo ws >cache/ws/mine";
    assert_eq!(scene.said(script).await, "readfixedlayer\n");
    assert_eq!(fs::read_to_string(scene.path("home/cache/mine")).unwrap(), "mine\n");
    assert_eq!(fs::read_to_string(scene.path("up/mine")).unwrap(), "ws\n");
    assert!(!scene.path("home/cache/ws/mine").exists());
}

#[tokio::test]
async fn a_path_through_a_link_is_there_under_both_names() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    scene.write("real/dir/file", "text");
    symlink(scene.path("real"), scene.path("absolute")).unwrap();
    symlink("absolute/dir", scene.path("relative")).unwrap();
    scene.walls.read.push(scene.path("relative/file"));
    assert_eq!(
        scene
            .said("cat {}/relative/file {}/absolute/dir/file {}/real/dir/file; readlink /bin")
            .await,
        format!("texttexttext{}\n", fs::read_link("/bin").unwrap_or_default().display())
    );
}

#[tokio::test]
async fn a_link_that_a_program_made_leads_nowhere() {
    for mut scene in Scene::each() {
        scene.write("precious/file", "text");
        // An earlier attempt left it in place of a directory.
        scene.run("ln -s {}/precious cache; ln -s {} /tmp/up").await;
        scene.walls.write.push(scene.path("work/cache"));
        let error = scene.error(scene.sh("echo x >cache/file")).await;
        assert!(
            matches!(&error, Error::Walls { message, .. } if message.contains("link")),
            "{error}"
        );
        assert_eq!(fs::read_to_string(scene.path("precious/file")).unwrap(), "text");
    }
}
