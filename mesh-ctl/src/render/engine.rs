//! One namespace of parsed templates, as Helm keeps one for a chart, with `include` and `tpl`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, Parser, PipeNode, SmolStr};
use gotmpl::{FuncMap, MissingKey, Template, TemplateError, Value};

use super::convert::text;
use super::functions;

/// `include` and `tpl` within each other at most this deep.
const MAX_INCLUDE_DEPTH: usize = 64;
/// What Go prints for a missing value; Helm removes it.
const NO_VALUE: &str = "<no value>";

type Trees = BTreeMap<String, ListNode>;

/// Parsed templates, ready to be executed.
pub(super) struct Engine {
    scope: Arc<Scope>,
    chart: String,
}

/// What `include` and `tpl` execute in.
struct Scope {
    trees: Trees,
    funcs: FuncMap,
    /// The templates with their functions; the functions lead back here.
    set: OnceLock<Template>,
    depth: AtomicUsize,
}

impl Engine {
    /// Parses the templates of a chart; each is named `<chart>/<path>`.
    pub(super) fn new(chart: &str, templates: &BTreeMap<String, String>) -> gotmpl::Result<Self> {
        let mut trees = Trees::new();
        for (path, source) in templates {
            parse_into(&mut trees, &format!("{chart}/{path}"), source)?;
        }
        Ok(Self { scope: Scope::new(trees), chart: chart.to_owned() })
    }

    /// Executes the template at `path` of the chart.
    pub(super) fn execute(&self, path: &str, data: &Value) -> gotmpl::Result<String> {
        self.scope.execute(&format!("{}/{path}", self.chart), data)
    }
}

impl Scope {
    fn new(trees: Trees) -> Arc<Self> {
        let scope = Arc::new_cyclic(|back: &Weak<Self>| Self {
            trees,
            funcs: with_calls(back),
            set: OnceLock::new(),
            depth: AtomicUsize::new(0),
        });
        scope.set.get_or_init(|| template("", &scope.trees, &scope.funcs));
        scope
    }

    fn execute(&self, name: &str, data: &Value) -> gotmpl::Result<String> {
        let set = self
            .set
            .get()
            .ok_or_else(|| TemplateError::Exec("the templates are not ready".to_owned()))?;
        Ok(set.execute_template_to_string(name, data)?.replace(NO_VALUE, ""))
    }

    /// Executes text as a template that knows all others.
    fn execute_text(&self, source: &str, data: &Value) -> gotmpl::Result<String> {
        const NAME: &str = "tpl";
        let mut trees = self.trees.clone();
        parse_into(&mut trees, NAME, source)?;
        let set = template(NAME, &trees, &self.funcs);
        Ok(set.execute_template_to_string(NAME, data)?.replace(NO_VALUE, ""))
    }

    fn deeper(&self, run: impl FnOnce() -> gotmpl::Result<String>) -> gotmpl::Result<Value> {
        let depth = self.depth.fetch_add(1, Ordering::Relaxed);
        let result = if depth < MAX_INCLUDE_DEPTH {
            run()
        } else {
            let what = format!("include and tpl nest deeper than {MAX_INCLUDE_DEPTH}");
            Err(TemplateError::Exec(what))
        };
        self.depth.fetch_sub(1, Ordering::Relaxed);
        result.map(text)
    }
}

fn template(name: &str, trees: &Trees, funcs: &FuncMap) -> Template {
    let empty = Template::new(name).missing_key(MissingKey::ZeroValue).funcs(funcs.clone());
    trees.iter().fold(empty, |set, (name, tree)| set.add_parse_tree(name, tree.clone()))
}

/// The functions, with those that need the templates themselves.
fn with_calls(back: &Weak<Scope>) -> FuncMap {
    let mut funcs = functions::all();
    let scope = back.clone();
    funcs.insert(
        "include".to_owned(),
        Arc::new(move |args: &[Value]| match args {
            [Value::String(name), data] => {
                let scope = alive(&scope)?;
                scope
                    .deeper(|| scope.execute(name, data))
                    .map_err(|error| within("include", name, &error))
            }
            _ => Err(TemplateError::Exec("include takes a name and a value".to_owned())),
        }),
    );
    let scope = back.clone();
    funcs.insert(
        "tpl".to_owned(),
        Arc::new(move |args: &[Value]| match args {
            [Value::String(source), data] => {
                let scope = alive(&scope)?;
                scope.deeper(|| scope.execute_text(source, data))
            }
            _ => Err(TemplateError::Exec("tpl takes a text and a value".to_owned())),
        }),
    );
    funcs
}

fn alive(scope: &Weak<Scope>) -> gotmpl::Result<Arc<Scope>> {
    scope.upgrade().ok_or_else(|| TemplateError::Exec("the templates are gone".to_owned()))
}

fn within(what: &str, name: &str, error: &TemplateError) -> TemplateError {
    TemplateError::Exec(format!("{what} {name:?}: {error}"))
}

fn parse_into(trees: &mut Trees, name: &str, source: &str) -> gotmpl::Result<()> {
    let (mut tree, defines) = Parser::with_name(Some(name), source, "{{", "}}")?.parse()?;
    call_methods(&mut tree);
    trees.insert(name.to_owned(), tree);
    for mut define in defines {
        call_methods(&mut define.body);
        trees.insert(define.name.to_string(), define.body);
    }
    Ok(())
}

/// Makes `.Files.Get "a"` into `call .Files.Get "a"`: here methods are functions in maps, and
/// arguments to anything but a function are an error otherwise.
fn call_methods(list: &mut ListNode) {
    for node in &mut list.nodes {
        match node {
            Node::Action(action) => call_in_pipe(&mut action.pipe),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                call_in_pipe(&mut branch.pipe);
                call_methods(&mut branch.body);
                if let Some(body) = &mut branch.else_body {
                    call_methods(body);
                }
            }
            Node::Template(template) => {
                if let Some(pipe) = &mut template.pipe {
                    call_in_pipe(pipe);
                }
            }
            _ => {}
        }
    }
}

fn call_in_pipe(pipe: &mut PipeNode) {
    for (index, command) in pipe.commands.iter_mut().enumerate() {
        call_in_command(command, index > 0);
    }
}

fn call_in_command(command: &mut CommandNode, piped: bool) {
    for arg in &mut command.args {
        match arg {
            Expr::Pipe(_, pipe) => call_in_pipe(pipe),
            Expr::Chain(_, inner, _) => {
                if let Expr::Pipe(_, pipe) = inner.as_mut() {
                    call_in_pipe(pipe);
                }
            }
            _ => {}
        }
    }
    let has_arguments = piped || command.args.len() > 1;
    let (pos, fields) = match command.args.first() {
        Some(Expr::Field(pos, fields) | Expr::Variable(pos, _, fields)) => (*pos, fields),
        _ => return,
    };
    if has_arguments && !fields.is_empty() {
        command.args.insert(0, Expr::Identifier(pos, SmolStr::new_static("call")));
    }
}
