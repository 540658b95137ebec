//! Read-only layers for overlays: the first is a whole tree, each further one only what differs.
//!
//! A stack is a list of layers that together show one tree. Its note, written last, is what makes it one: a
//! layer that no note names is rubbish. A layer is never changed once a note names it, no program ever sees
//! it but through a mount, and a file that does not differ keeps its time of change in every stack.
//!
//! Only the first layer and what a cache stands on are synced. The others say in which boot they were made
//! and are believed in that one only: a task must not wait for the disk, and a power cut must not leave half a
//! file in a gate.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use git2::{ObjectType, Oid, Repository};
use serde::{Deserialize, Serialize};

use crate::{
    diff::FileMode,
    files,
    git::{Error, Vault, differences, git, oid},
    ids::{RepoPath, TreeId},
    workspace::{
        caches::{self, Cache},
        marks, pool,
    },
};

/// Layers of one stack. Each costs a look-up for names that are in none, and the options of a mount must fit
/// one page: 40 paths of 80 bytes do.
const MOST_LAYERS: usize = 40;
/// Bytes of a mount's options that the paths of layers may take: a page, less two more paths and the words.
const MOST_BYTES: usize = 3000;
/// Stacks that a new one may grow from, the newest: the tip, and candidates beside it that did not land.
const NEAR: usize = 4;
/// Files from which on a second thread pays.
const TWO_THREADS: usize = 1000;

/// All layers of one repository on this machine.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    directory: PathBuf,
    caches: PathBuf,
}

/// Layers that together show one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stack {
    /// The number of its topmost layer, and its own. Never given twice while any note is there.
    pub(super) number: u64,
    /// What it shows.
    pub(super) tree: TreeId,
    /// The numbers of its layers, the topmost first.
    pub(super) lower: Vec<u64>,
    /// Where its layers hide what is below all of them, though their tree may have nothing there: the caches'.
    pub(super) hidden: BTreeSet<RepoPath>,
    /// The caches whose makers saw every file of this stack that is older than they are: a build tool that
    /// compares times is right with them.
    fits: Vec<String>,
    /// The boot in which it was made; `None` = it is on the disk.
    boot: Option<String>,
}

/// A file that a layer shall hold.
struct Wanted {
    path: PathBuf,
    mode: FileMode,
    id: Oid,
}

/// What a new layer needs after its directories and whiteouts are made.
#[derive(Default)]
struct Layer {
    files: Vec<Wanted>,
    /// Directories in which names neither came nor went, from the layer's root: they keep their time.
    kept: Vec<PathBuf>,
    /// Where it has a whiteout or an opaque directory.
    hidden: BTreeSet<RepoPath>,
}

impl Layers {
    /// The layers in `directory`, for caches that are in `caches`.
    pub(super) fn new(directory: &Path, caches: &Path) -> Layers {
        Layers { directory: directory.to_owned(), caches: caches.to_owned() }
    }

    /// The directories of a stack, the topmost first.
    pub(super) fn paths(&self, stack: &Stack) -> Vec<PathBuf> {
        stack.lower.iter().map(|number| self.layer(*number)).collect()
    }

    /// The stack with this number, if it is still there and can be believed.
    pub(super) fn again(&self, number: u64, tree: &TreeId) -> Option<Stack> {
        self.usable(number, tree, None)
    }

    /// A stack that shows `tree` and fits `cache`, if one is there.
    fn find(&self, tree: &TreeId, cache: Option<&str>) -> Result<Option<Stack>, Error> {
        let names = self.names()?;
        let mut same = names.iter().filter(|(_, shows)| shows == tree);
        Ok(same.find_map(|(number, shows)| self.usable(*number, shows, cache)))
    }

    /// A stack that shows `tree` and fits `cache` (a [`Cache::mark`]). Makes what is missing: the
    /// difference to the nearest stack that there is, or the whole tree.
    pub(super) fn stack(
        &self,
        vault: &Vault,
        tree: &TreeId,
        cache: Option<&str>,
    ) -> Result<Stack, Error> {
        if let Some(found) = self.find(tree, cache)? {
            return Ok(found);
        }
        let handles = vault.open()?;
        let near = self.nearest(&handles.read, tree, cache)?;
        // Before the first file is written: all of them are younger than these caches.
        let caches = self.marks();
        let number = self.claim()?;
        let directory = self.layer(number);
        let mut layer = Layer::default();
        let (lower, fits, boot, hidden) = match &near {
            None => {
                layer.all(&handles.read, oid(tree.as_str()), &directory)?;
                layer.write(vault)?;
                files::sync_all(&directory)?;
                (vec![number], caches, None, BTreeSet::new())
            }
            Some(near) => {
                let (old, new) = (oid(near.tree.as_str()), oid(tree.as_str()));
                layer.difference(&handles.read, old, new, &directory, Path::new(""))?;
                layer.write(vault)?;
                let mut lower = near.lower.clone();
                keep_times(&layer.kept, &directory, &self.paths(near))?;
                if lower.len() >= self.most() {
                    // All but the first, which is the whole tree.
                    for squashed in lower.drain(..lower.len() - 1) {
                        marks::lay_under(&directory, &self.layer(squashed))?;
                    }
                    marks::drop_idle(&directory, Some(&self.layer(lower[0])))?;
                }
                lower.insert(0, number);
                let mut fits = near.fits.clone();
                fits.retain(|mark| caches.contains(mark));
                let hidden = &near.hidden | &layer.hidden;
                (lower, fits, Some(boot()), hidden)
            }
        };
        let stack = Stack { number, tree: tree.clone(), lower, hidden, fits, boot };
        self.note(&stack)?;
        Ok(stack)
    }

    /// Says that `cache` was just made on this stack, and that the stack is on the disk by now.
    pub(super) fn fit(&self, stack: &Stack, cache: &str) -> Result<(), Error> {
        // Another may have been noted since it was read.
        let Some(mut stack) = self.read(stack.number, &stack.tree) else { return Ok(()) };
        stack.boot = None;
        stack.fits.push(cache.to_owned());
        self.note(&stack)
    }

    fn marks(&self) -> Vec<String> {
        let ids = caches::all(&self.caches).into_iter().filter_map(|(id, _)| id);
        ids.filter_map(|id| Some(Cache::find(&self.caches, &id)?.mark())).collect()
    }

    /// Removes all stacks but those in `used` (numbers), those of `trees` and the newest `kept`, and every
    /// layer that is in none.
    pub(super) fn collect(
        &self,
        used: &[u64],
        trees: &BTreeSet<TreeId>,
        kept: usize,
    ) -> Result<(), Error> {
        let mut needed = Vec::new();
        for (at, (number, tree)) in self.names()?.into_iter().enumerate() {
            let stack = self.read(number, &tree);
            let stays = at < kept || used.contains(&number) || trees.contains(&tree);
            match stack.filter(|stack| stays && stack.is_believed()) {
                Some(stack) => needed.extend(stack.lower),
                None => files::remove_file(&self.place(number, &tree))?,
            }
        }
        for entry in entries(&self.directory)? {
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if number.is_some_and(|number: u64| !needed.contains(&number)) {
                files::remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    fn layer(&self, number: u64) -> PathBuf {
        self.directory.join(number.to_string())
    }

    fn place(&self, number: u64, tree: &TreeId) -> PathBuf {
        self.directory.join(format!("{number}-{tree}"))
    }

    /// Layers that a stack may have before the next is made: the options of a mount must hold their paths.
    fn most(&self) -> usize {
        let path = self.directory.as_os_str().len() + "/1234567:".len();
        (MOST_BYTES / path).clamp(2, MOST_LAYERS)
    }

    /// Number and tree of every note, the newest first.
    fn names(&self) -> Result<Vec<(u64, TreeId)>, Error> {
        let mut found = Vec::new();
        for entry in entries(&self.directory)? {
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.split_once('-'));
            let Some((number, tree)) = parts else { continue };
            if let (Ok(number), Ok(tree)) = (number.parse(), TreeId::new(tree)) {
                found.push((number, tree));
            }
        }
        found.sort_by_key(|(number, _)| Reverse(*number));
        Ok(found)
    }

    /// The note of a stack; one that cannot be read is none.
    fn read(&self, number: u64, tree: &TreeId) -> Option<Stack> {
        let bytes = fs::read(self.place(number, tree)).ok()?;
        let stack: Stack = serde_json::from_slice(&bytes).ok()?;
        let whole = stack.number == number && stack.tree == *tree && !stack.lower.is_empty();
        (whole && stack.lower.iter().all(|number| self.layer(*number).is_dir())).then_some(stack)
    }

    fn usable(&self, number: u64, tree: &TreeId, cache: Option<&str>) -> Option<Stack> {
        let stack = self.read(number, tree)?;
        let fits = cache.is_none_or(|cache| stack.fits.iter().any(|mark| mark == cache));
        (fits && stack.is_believed()).then_some(stack)
    }

    fn note(&self, stack: &Stack) -> Result<(), Error> {
        let text = serde_json::to_vec(stack).expect("numbers and texts have a form in JSON");
        let place = self.place(stack.number, &stack.tree);
        // One that names its boot serves that boot only.
        let write = if stack.boot.is_some() { files::write_soon } else { files::write_atomic };
        Ok(write(&place, &text)?)
    }

    /// Makes the directory of the next layer.
    fn claim(&self) -> Result<u64, Error> {
        let numbers = entries(&self.directory)?.into_iter().filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.split('-').next()?.parse::<u64>().ok()
        });
        let mut number = numbers.max().unwrap_or(0) + 1;
        while !files::make_dir(&self.layer(number))? {
            number += 1;
        }
        Ok(number)
    }

    /// The stack from which `tree` costs least.
    fn nearest(
        &self,
        repository: &Repository,
        tree: &TreeId,
        cache: Option<&str>,
    ) -> Result<Option<Stack>, Error> {
        let mut best: Option<(usize, Stack)> = None;
        let names = self.names()?;
        let usable = names.iter().filter_map(|(number, tree)| self.usable(*number, tree, cache));
        for stack in usable.take(NEAR) {
            let most = best.as_ref().map_or(usize::MAX, |(cost, _)| *cost);
            let (old, new) = (oid(stack.tree.as_str()), oid(tree.as_str()));
            // The user's gc may have taken the tree of an old night.
            let Ok(cost) = cost(repository, old, new, most) else { continue };
            if cost < most {
                best = Some((cost, stack));
            }
        }
        Ok(best.map(|(_, stack)| stack))
    }
}

impl Stack {
    fn is_believed(&self) -> bool {
        self.boot.as_ref().is_none_or(|made| !made.is_empty() && *made == boot())
    }
}

impl Layer {
    /// Plans all of `tree` in `directory`, which is there.
    fn all(&mut self, repository: &Repository, tree: Oid, directory: &Path) -> Result<(), Error> {
        let tree = repository.find_tree(tree).map_err(git("read a tree"))?;
        for entry in &tree {
            differences::check(entry.name_bytes())?;
            let name = std::ffi::OsStr::from_bytes(entry.name_bytes());
            self.add(repository, Node::of(&entry), &directory.join(name))?;
        }
        Ok(())
    }

    /// Plans one entry where nothing is.
    fn add(&mut self, repository: &Repository, node: Node, path: &Path) -> Result<(), Error> {
        match node.mode {
            None => {
                files::create_dir_all(path)?;
                self.all(repository, node.id, path)?;
            }
            Some(FileMode::Gitlink) => files::create_dir_all(path)?,
            Some(mode) => self.files.push(Wanted { path: path.to_owned(), mode, id: node.id }),
        }
        Ok(())
    }

    /// Plans what makes `new` of a stack that shows `old`, in the layer's `directory`, which is there.
    /// `at` is its path from the layer's root.
    fn difference(
        &mut self,
        repository: &Repository,
        old: Oid,
        new: Oid,
        directory: &Path,
        at: &Path,
    ) -> Result<(), Error> {
        let mut same_names = true;
        for (name, (before, after)) in differing(repository, old, new)? {
            differences::check(&name)?;
            let name = std::ffi::OsStr::from_bytes(&name);
            let path = directory.join(name);
            match (before, after) {
                (_, None) => {
                    marks::make_whiteout(&path)?;
                    self.hides(at, name);
                    same_names = false;
                }
                (Some(Node { mode: None, id: old }), Some(Node { mode: None, id: new })) => {
                    files::create_dir_all(&path)?;
                    self.difference(repository, old, new, &path, &at.join(name))?;
                }
                (Some(before), Some(after)) if before.is_empty_dir() && after.is_empty_dir() => {}
                (before, Some(after)) => {
                    self.add(repository, after, &path)?;
                    if before.is_some() && after.is_dir() {
                        marks::make_opaque(&path)?;
                        self.hides(at, name);
                    }
                    same_names &= before.is_some_and(|before| before.is_dir() == after.is_dir());
                }
            }
        }
        if same_names {
            self.kept.push(at.to_owned());
        }
        Ok(())
    }

    fn hides(&mut self, at: &Path, name: &std::ffi::OsStr) {
        self.hidden.insert(RepoPath::new(at.join(name).as_os_str().as_bytes()));
    }

    /// Writes the files.
    fn write(&self, vault: &Vault) -> Result<(), Error> {
        if self.files.len() < TWO_THREADS {
            return write_all(vault, &self.files);
        }
        let (first, second) = self.files.split_at(self.files.len() / 2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| write_all(vault, second));
            write_all(vault, first)?;
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn write_all(vault: &Vault, wanted: &[Wanted]) -> Result<(), Error> {
    let handles = vault.open()?;
    for Wanted { path, mode, id } in wanted {
        let wrap = || git(format!("read the file for {}", path.display()));
        let blob = handles.read.find_blob(*id).map_err(wrap())?;
        pool::write(path, *mode, blob.content())?;
    }
    Ok(())
}

/// Gives directories of a layer the times that they have below it: nothing came or went in them.
fn keep_times(kept: &[PathBuf], layer: &Path, lower: &[PathBuf]) -> Result<(), Error> {
    for at in kept {
        let mut below = lower.iter().filter_map(|lower| fs::symlink_metadata(lower.join(at)).ok());
        if let Some(like) = below.next() {
            marks::set_modified(&layer.join(at), &like)?;
        }
    }
    Ok(())
}

/// An entry of a tree.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node {
    /// `None` for a directory.
    mode: Option<FileMode>,
    id: Oid,
}

impl Node {
    fn of(entry: &git2::TreeEntry<'_>) -> Node {
        let is_tree = entry.kind() == Some(ObjectType::Tree);
        let mode = (!is_tree).then(|| FileMode::from_raw(entry.filemode()));
        Node { mode, id: entry.id() }
    }

    /// A submodule is an empty directory, whatever commit it names.
    fn is_empty_dir(self) -> bool {
        self.mode == Some(FileMode::Gitlink)
    }

    fn is_dir(self) -> bool {
        self.mode.is_none() || self.is_empty_dir()
    }
}

type Differing = BTreeMap<Vec<u8>, (Option<Node>, Option<Node>)>;

/// The names of one directory that are not the same in both trees.
fn differing(repository: &Repository, old: Oid, new: Oid) -> Result<Differing, Error> {
    let mut found = Differing::new();
    if old == new {
        return Ok(found);
    }
    let tree = |id| repository.find_tree(id).map_err(git("read a tree"));
    let (old, new) = (tree(old)?, tree(new)?);
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => in_git_order(before, after),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        if before.as_ref().map(Node::of) == after.as_ref().map(Node::of) {
            continue;
        }
        if let Some(entry) = before {
            found.entry(entry.name_bytes().to_vec()).or_default().0 = Some(Node::of(&entry));
        }
        if let Some(entry) = after {
            found.entry(entry.name_bytes().to_vec()).or_default().1 = Some(Node::of(&entry));
        }
    }
}

/// The order of a tree's entries, in which a directory's name ends with a slash.
fn in_git_order(a: &git2::TreeEntry<'_>, b: &git2::TreeEntry<'_>) -> Ordering {
    let end = |entry: &git2::TreeEntry<'_>| {
        let slash: &[u8] = if entry.kind() == Some(ObjectType::Tree) { b"/" } else { b"" };
        slash.iter()
    };
    a.name_bytes().iter().chain(end(a)).cmp(b.name_bytes().iter().chain(end(b)))
}

/// True when a file that says what is ignored differs between the two trees.
pub(super) fn ignores_differ(repository: &Repository, old: Oid, new: Oid) -> Result<bool, Error> {
    for (name, (before, after)) in differing(repository, old, new)? {
        let differ = match (before, after) {
            (Some(Node { mode: None, id: old }), Some(Node { mode: None, id: new })) => {
                ignores_differ(repository, old, new)?
            }
            _ if name == b".gitignore" => true,
            (Some(Node { mode: None, id }), _) | (_, Some(Node { mode: None, id })) => {
                has_ignores(repository, id)?
            }
            _ => false,
        };
        if differ {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_ignores(repository: &Repository, tree: Oid) -> Result<bool, Error> {
    let tree = repository.find_tree(tree).map_err(git("read a tree"))?;
    for entry in &tree {
        let below = match Node::of(&entry) {
            Node { mode: None, id } => has_ignores(repository, id)?,
            Node { mode: Some(_), .. } => entry.name_bytes() == b".gitignore",
        };
        if below {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Entries that a layer between the two trees would hold; counting ends at `most`.
fn cost(repository: &Repository, old: Oid, new: Oid, most: usize) -> Result<usize, Error> {
    let mut sum = 0;
    for (before, after) in differing(repository, old, new)?.into_values() {
        if sum >= most {
            break;
        }
        sum += match (before, after) {
            (Some(Node { mode: None, id: old }), Some(Node { mode: None, id: new })) => {
                cost(repository, old, new, most - sum)?
            }
            (_, Some(Node { mode: None, id })) => count(repository, id, most - sum)?,
            _ => 1,
        };
    }
    Ok(sum)
}

/// Files in a tree; counting ends at `most`.
fn count(repository: &Repository, tree: Oid, most: usize) -> Result<usize, Error> {
    let tree = repository.find_tree(tree).map_err(git("read a tree"))?;
    let mut sum = 0;
    for entry in &tree {
        if sum >= most {
            break;
        }
        sum += match Node::of(&entry) {
            Node { mode: None, id } => count(repository, id, most - sum)?,
            Node { mode: Some(_), .. } => 1,
        };
    }
    Ok(sum)
}

fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>, Error> {
    let listed = fs::read_dir(directory).and_then(Iterator::collect);
    Ok(listed.map_err(files::error("list", directory))?)
}

/// Which boot of the machine this is; empty where nobody says it.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
