//! Tests in Rust as the compiler finds them: from the roots of each package through `mod`, without what `cfg`,
//! `#[ignore]` or a manifest leaves out. So a file that nothing names, or a test that is compiled away, is no test.

use crate::names::root;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::fs;
use std::path::{Path, PathBuf};
use syn::{Attribute, Expr, Item, Lit, Meta};

/// What is compiled where these tests are read; `tests/run` has a step of its own for what is behind this feature.
const COMPILED: [&str; 3] = ["test", "unix", "feature = \"redis\""];

/// A function that `cargo test` runs.
#[derive(Clone, Debug)]
pub struct RustTest {
    /// `broker-engine::sessions::takeover`: package, file without folder and ending, function.
    pub name: String,
    /// From the root of the project.
    pub file: String,
    /// Of its `fn`.
    pub line: usize,
    /// The whole of it, with its comment.
    pub text: String,
}

/// All tests of all packages of the workspace.
///
/// # Panics
/// A manifest or a source is not there or not understood.
pub fn all() -> Vec<RustTest> {
    let workspace = manifest(&root());
    let members = workspace["workspace"]["members"].as_array().expect("members of the workspace");
    members.iter().flat_map(|member| of_package(member.as_str().expect("a folder"))).collect()
}

fn manifest(folder: &Path) -> toml::Table {
    let path = folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Tests of one package: of its library, its program and the files in `tests`.
fn of_package(folder: &str) -> Vec<RustTest> {
    let path = root().join(folder);
    let manifest = manifest(&path);
    let package = manifest["package"]["name"].as_str().expect("a name");
    assert!(manifest["package"].get("autotests").is_none(), "{folder}: tests are found by their place");
    let mut roots = vec![path.join("src/lib.rs"), path.join("src/main.rs")];
    let files = fs::read_dir(path.join("tests")).into_iter().flatten().map(|entry| entry.unwrap().path());
    roots.extend(files.filter(|file| file.extension().is_some_and(|ending| ending == "rs")));
    roots.retain(|file| file.is_file() && is_run(file, &manifest));
    roots.sort();
    let mut found = Found { package, folder, target: String::new(), tests: Vec::new() };
    for file in roots {
        found.target = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let beside = file.parent().expect("a folder").to_owned();
        found.file(&file, &beside);
    }
    found.tests
}

/// Does the manifest leave a target as it is by default?
fn is_run(file: &Path, manifest: &toml::Table) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let of_kind = |kind: &str| manifest.get(kind).and_then(toml::Value::as_array).into_iter().flatten();
    let target = match &*stem {
        "lib" => manifest.get("lib"),
        "main" => of_kind("bin").next(),
        name => of_kind("test").find(|test| test.get("name").and_then(toml::Value::as_str) == Some(name)),
    };
    target.is_none_or(|target| {
        let off = |key: &str| target.get(key).and_then(toml::Value::as_bool) == Some(false);
        !off("test") && !off("harness") && target.get("required-features").is_none()
    })
}

struct Found<'a> {
    package: &'a str,
    folder: &'a str,
    /// Name of the file that is compiled with all its modules.
    target: String,
    tests: Vec<RustTest>,
}

impl Found<'_> {
    /// A file, whose modules are in the folder `below`.
    fn file(&mut self, file: &Path, below: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if !is_left_out(&parsed.attrs) {
            self.items(&parsed.items, file, below, &text);
        }
    }

    fn items(&mut self, items: &[Item], file: &Path, below: &Path, text: &str) {
        for item in items {
            match item {
                Item::Fn(item) if is_test(&item.attrs) && !is_left_out(&item.attrs) => {
                    let first = item
                        .attrs
                        .first()
                        .map_or(item.sig.ident.span(), |attribute| attribute.pound_token.span);
                    let last = item.block.brace_token.span.close();
                    self.push(&item.sig.ident, first.start().line, last.end().line, file, text);
                }
                Item::Mod(module) if !is_left_out(&module.attrs) => {
                    let below = below.join(module.ident.to_string());
                    match &module.content {
                        Some((_, items)) => self.items(items, file, &below, text),
                        None => self.module(&module.attrs, file, &below),
                    }
                }
                // `proptest! { #[test] fn a_law(x in any::<u8>()) { ... } }`
                Item::Macro(item) if !is_left_out(&item.attrs) => {
                    self.tokens(item.mac.tokens.clone(), file, text);
                }
                _ => {}
            }
        }
    }

    fn module(&mut self, attributes: &[Attribute], file: &Path, below: &Path) {
        let beside = file.parent().expect("a folder");
        let candidates = match path_of(attributes) {
            Some(path) => vec![beside.join(path)],
            None => vec![below.with_extension("rs"), below.join("mod.rs")],
        };
        let found = candidates.into_iter().find(|file| file.is_file());
        let module = found.unwrap_or_else(|| panic!("{}: no file for {}", file.display(), below.display()));
        self.file(&module, below);
    }

    /// Functions with `#[test]` among the tokens that a macro is given.
    fn tokens(&mut self, tokens: TokenStream, file: &Path, text: &str) {
        let mut attributes: Vec<String> = Vec::new();
        let mut first = None;
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match (&token, tokens.peek()) {
                (TokenTree::Punct(hash), Some(TokenTree::Group(group)))
                    if hash.as_char() == '#' && group.delimiter() == Delimiter::Bracket =>
                {
                    first.get_or_insert(hash.span());
                    attributes.push(group.stream().to_string());
                }
                (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "fn" => {
                    let is = |wanted: &str| attributes.iter().any(|attribute| attribute.starts_with(wanted));
                    if is("test") && !is("cfg") && !is("ignore") {
                        let name = name.clone();
                        let body = tokens.find(|token| {
                            matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
                        });
                        let begin = first.unwrap_or_else(|| word.span());
                        let end = body.map_or(begin, |body| body.span());
                        self.push(&name, begin.start().line, end.end().line, file, text);
                    }
                    (first, attributes) = (None, Vec::new());
                }
                _ => {}
            }
        }
    }

    fn push(&mut self, name: &proc_macro2::Ident, first: usize, last: usize, file: &Path, text: &str) {
        let Ok(place) = file.strip_prefix(root()) else { return };
        let place = without_detours(place);
        let module = match place.strip_prefix(self.folder) {
            Ok(own) => {
                let stem = own.with_extension("");
                stem.iter().skip(1).map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("::")
            }
            // A file that several packages have is run by each, and goes by who runs it.
            Err(_) => self.target.clone(),
        };
        self.tests.push(RustTest {
            name: format!("{}::{module}::{name}", self.package),
            file: place.display().to_string(),
            line: name.span().start().line,
            text: text.lines().take(last).skip(first - 1).collect::<Vec<_>>().join("\n"),
        });
    }
}

/// The same path without `..`.
fn without_detours(path: &Path) -> PathBuf {
    let mut direct = PathBuf::new();
    for part in path {
        if part == ".." {
            direct.pop();
        } else {
            direct.push(part);
        }
    }
    direct
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().segments.last().is_some_and(|word| word.ident == "test"))
}

fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            !COMPILED.contains(&list.tokens.to_string().as_str())
        }
        Meta::List(list) if list.path.is_ident("cfg_attr") => list.tokens.to_string().contains("ignore"),
        meta => meta.path().is_ident("ignore"),
    })
}

/// The file that `#[path = "..."]` names.
fn path_of(attributes: &[Attribute]) -> Option<PathBuf> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(value) => match &value.lit {
                Lit::Str(path) => Some(path.value().into()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<String> {
        let mut found = Found { package: "p", folder: "f", target: "x".to_owned(), tests: Vec::new() };
        let parsed = syn::parse_file(source).unwrap();
        if !is_left_out(&parsed.attrs) {
            let file = root().join("f/tests/x.rs");
            found.items(&parsed.items, &file, file.parent().unwrap(), source);
        }
        found.tests.into_iter().map(|test| format!("{} {}", test.name, test.line)).collect()
    }

    #[test]
    fn tests_are_what_the_compiler_makes_tests_of() {
        for (source, wanted) in [
            ("/// It.\n#[test]\nfn a() {}", Some("p::x::a 3")),
            ("#[tokio::test(flavor = \"current_thread\")]\nasync fn a() {}", Some("p::x::a 2")),
            ("#[cfg(unix)] #[test] fn a() {}", Some("p::x::a 1")),
            ("#[cfg(test)] mod tests { #[test] fn a() {} }", Some("p::x::a 1")),
            ("proptest! { #[test] fn a(x in any::<u8>()) {} }", Some("p::x::a 1")),
            ("fn a() {}", None),
            ("#[test] #[ignore = \"slow\"] fn a() {}", None),
            ("#[test] #[cfg_attr(unix, ignore)] fn a() {}", None),
            ("#[cfg(any())] #[test] fn a() {}", None),
            ("#![cfg(any())] #[test] fn a() {}", None),
            ("#[cfg(any())] mod tests { #[test] fn a() {} }", None),
            ("#[cfg(any())] proptest! { #[test] fn a(x in any::<u8>()) {} }", None),
            ("proptest! { #[cfg(any())] #[test] fn a(x in any::<u8>()) {} }", None),
            ("/* #[test] fn a() {} */ const A: &str = \"#[test] fn a() {}\";", None),
        ] {
            assert_eq!(found(source), wanted.into_iter().collect::<Vec<_>>(), "{source}");
        }
    }

    #[test]
    fn a_manifest_can_leave_a_file_out() {
        let manifest: toml::Table =
            "lib = { test = false }\n[[test]]\nname = \"a\"\nharness = false".parse().unwrap();
        for (file, run) in
            [("src/lib.rs", false), ("src/main.rs", true), ("tests/a.rs", false), ("tests/b.rs", true)]
        {
            assert_eq!(is_run(Path::new(file), &manifest), run, "{file}");
        }
    }
}
