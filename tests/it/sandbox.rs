//! The walls hold: what a program behind them sees, writes and leaves, tried with the real binary.
#![expect(clippy::disallowed_methods, reason = "the tests look at files from outside the walls")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

use std::{fs, path::PathBuf, time::Duration};

use nightshift::{
    process::{Completed, Ended, Environment, Error, Program, Stop, Supervisor},
    sandbox::{Limits, Network, Tier, Walls},
};

const LONG: Duration = Duration::from_secs(60);

/// A directory of the machine's, and walls that name parts of it.
struct Scene {
    dir: tempfile::TempDir,
    walls: Walls,
}

/// What a shell and its tools need.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"];

impl Scene {
    fn new(tier: Tier) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tmp", "work", "out"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let walls = Walls {
            tier,
            read: SYSTEM.map(PathBuf::from).to_vec(),
            write: vec![dir.path().join("work")],
            hidden: Vec::new(),
            overlays: Vec::new(),
            tmp: dir.path().join("tmp"),
            network: Network::Nobody,
            limits: Limits { disk_reserve: 0, ..Limits::default() },
        };
        Scene { dir, walls }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn program(&self, argv: &[&str]) -> Program {
        let mut environment = Environment::empty();
        environment.set("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        let argv = argv.iter().map(ToString::to_string).collect();
        let (out, err) = (self.path("out/out"), self.path("out/err"));
        let mut program = Program::new(argv, &self.path("work"), environment, &out, &err);
        program.walls = Some(self.walls.clone());
        program
    }

    fn sh(&self, script: &str) -> Program {
        self.program(&["sh", "-c", script])
    }

    async fn try_run(&self, script: &str) -> Result<Completed, Error> {
        supervisor().run(self.sh(script), b"", LONG, &Stop::new()).await
    }

    /// What a script says, on both streams, with its code when that is not 0.
    async fn said(&self, script: &str) -> String {
        let completed = self.try_run(script).await.unwrap();
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        let mut said = read("out/out") + &read("out/err");
        if completed.exit.ended != Ended::Code(0) {
            said += &format!("{:?}", completed.exit.ended);
        }
        said
    }
}

fn supervisor() -> Supervisor {
    Supervisor { exe: env!("CARGO_BIN_EXE_nightshift").into() }
}

#[tokio::test]
async fn a_program_sees_only_what_is_named() {
    let mut scene = Scene::new(Tier::T2);
    let named = scene.write("named/file", "text");
    scene.write("other/file", "text");
    scene.walls.read.push(named.parent().unwrap().into());
    let dir = scene.dir.path().display().to_string();
    assert_eq!(
        scene.said(&format!("ls /; ls {dir}; cat {dir}/named/file")).await,
        "bin\ndev\netc\nlib\nlib64\nproc\nrun\nsbin\nsys\ntmp\nusr\nvar\nnamed\nwork\ntext"
    );
}
