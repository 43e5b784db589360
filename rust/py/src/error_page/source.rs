//! Reads from the sources of an error its text, its documentation, its id, and SM's name for it.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, Fields, ImplItem, Item, Lit, LitStr, Pat, Stmt, Token};

/// A variant of an enum, or a struct, that is an error.
pub struct Variant {
    pub name: String,
    /// The text of `#[error]`, with the names of what it is filled with in braces.
    pub text: Option<String>,
    /// The text as it is written, with `{}` for an expression.
    pub literal: String,
    /// The first paragraph of its documentation.
    pub cause: String,
    /// The paragraph of its documentation that begins with `Fix:`.
    pub fix: Option<String>,
    /// Its fields that are an `io::Error`.
    pub io_fields: Vec<String>,
}

/// An arm of the table with SM's names.
pub struct Arm {
    pub function: String,
    pub variant: String,
    /// None if the name is that of another error, which this one contains.
    pub name: Option<String>,
}

/// The errors of an enum or a struct.
pub fn errors_of(file: &syn::File, item: &str) -> Vec<Variant> {
    let variant = |name: String, attributes: &[Attribute], fields: &Fields| {
        let (cause, fix) = documentation(attributes);
        Variant {
            name,
            text: format(attributes).map(|format| text(&format)),
            literal: format(attributes).map_or_else(String::new, |format| format.text.value()),
            cause,
            fix,
            io_fields: io_fields(fields),
        }
    };
    for found in &file.items {
        match found {
            Item::Enum(of) if of.ident == item => {
                let variants = of.variants.iter();
                return variants
                    .map(|v| variant(v.ident.to_string(), &v.attrs, &v.fields))
                    .collect();
            }
            Item::Struct(of) if of.ident == item => {
                return vec![variant(item.to_owned(), &of.attrs, &of.fields)];
            }
            _ => {}
        }
    }
    panic!("there is no {item}");
}

/// Every enum and struct of a file with an attribute `#[error]`.
pub fn all_errors(file: &syn::File) -> Vec<Variant> {
    let mut names = Vec::new();
    for item in &file.items {
        match item {
            Item::Enum(of) => names.push(of.ident.to_string()),
            Item::Struct(of) => names.push(of.ident.to_string()),
            _ => {}
        }
    }
    let errors = names.iter().flat_map(|name| errors_of(file, name));
    errors.filter(|error| error.text.is_some()).collect()
}

/// The ids that a type's `fn id` or `const ID` gives, by variant; `None`: that of what it contains.
pub fn ids_of(file: &syn::File, item: &str) -> BTreeMap<String, Option<String>> {
    let mut ids = BTreeMap::new();
    for found in &file.items {
        let Item::Impl(block) = found else { continue };
        let is_own = matches!(&*block.self_ty, syn::Type::Path(path) if path.path.is_ident(item));
        if !is_own || block.trait_.is_some() {
            continue;
        }
        for part in &block.items {
            match part {
                ImplItem::Const(of) if of.ident == "ID" => {
                    ids.insert(item.to_owned(), literal(&of.expr));
                }
                ImplItem::Fn(of) if of.sig.ident == "id" => {
                    for (variant, name) in arms_in(&of.block) {
                        ids.insert(variant, name);
                    }
                }
                _ => {}
            }
        }
    }
    ids
}

/// All arms of the functions of a file whose name begins with `of_`.
pub fn arms_of(file: &syn::File) -> Vec<Arm> {
    let mut arms = Vec::new();
    for item in &file.items {
        let Item::Fn(of) = item else { continue };
        let function = of.sig.ident.to_string();
        if function.starts_with("of_") {
            arms.extend(arms_in(&of.block).into_iter().map(|(variant, name)| Arm {
                function: function.clone(),
                variant,
                name,
            }));
        }
    }
    arms
}

/// The arms of the `match` that a function consists of.
fn arms_in(block: &syn::Block) -> Vec<(String, Option<String>)> {
    let Some(Stmt::Expr(Expr::Match(table), _)) = block.stmts.last() else {
        return Vec::new();
    };
    let mut arms = Vec::new();
    for arm in &table.arms {
        let names = literal(&arm.body);
        for variant in variants_in(&arm.pat) {
            arms.push((variant, names.clone()));
        }
    }
    arms
}

fn variants_in(pattern: &Pat) -> Vec<String> {
    let last = |path: &syn::Path| vec![path.segments.last().unwrap().ident.to_string()];
    match pattern {
        Pat::Or(of) => of.cases.iter().flat_map(variants_in).collect(),
        Pat::Struct(of) => last(&of.path),
        Pat::TupleStruct(of) => last(&of.path),
        Pat::Path(of) => last(&of.path),
        _ => panic!("the tables take no wildcard"),
    }
}

/// The text of an expression: a literal, a block with one, or the last arm of a match with one.
fn literal(body: &Expr) -> Option<String> {
    match body {
        Expr::Lit(of) => match &of.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        Expr::Block(of) => match of.block.stmts.as_slice() {
            [Stmt::Expr(inner, None)] => literal(inner),
            _ => None,
        },
        // `Some("...")`
        Expr::Call(of) => of.args.iter().find_map(literal),
        Expr::Match(of) => of.arms.iter().find_map(|arm| literal(&arm.body)),
        _ => None,
    }
}

fn io_fields(fields: &Fields) -> Vec<String> {
    let is_io = |kind: &syn::Type| match kind {
        syn::Type::Path(of) => {
            let names: Vec<_> = of
                .path
                .segments
                .iter()
                .map(|s| s.ident.to_string())
                .collect();
            names.ends_with(&["io".to_owned(), "Error".to_owned()])
        }
        _ => false,
    };
    let fields = fields.iter().filter(|field| is_io(&field.ty));
    fields
        .filter_map(|field| Some(field.ident.as_ref()?.to_string()))
        .collect()
}

/// The first paragraph, and the one that begins with `Fix:`.
fn documentation(attributes: &[Attribute]) -> (String, Option<String>) {
    let mut text = String::new();
    for attribute in attributes {
        if let syn::Meta::NameValue(of) = &attribute.meta {
            if of.path.is_ident("doc") {
                text += literal(&of.value).unwrap().trim();
                text += "\n";
            }
        }
    }
    let paragraphs: Vec<_> = text
        .split("\n\n")
        .map(|p| p.trim().replace('\n', " "))
        .collect();
    let fix = paragraphs.iter().find_map(|p| p.strip_prefix("Fix: "));
    (paragraphs[0].clone(), fix.map(str::to_owned))
}

/// `"text {}", argument, name = argument`.
struct Format {
    text: LitStr,
    arguments: Vec<TokenStream>,
}

impl Parse for Format {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let text = input.parse()?;
        let mut arguments = vec![TokenStream::new()];
        while !input.is_empty() {
            if input.peek(Token![,]) {
                input.parse::<Token![,]>()?;
                arguments.push(TokenStream::new());
            } else {
                let token: TokenTree = input.parse()?;
                arguments.last_mut().unwrap().extend([token]);
            }
        }
        arguments.remove(0);
        Ok(Format { text, arguments })
    }
}

/// The text of `#[error]`; none if there is no such attribute, or if it passes another error on.
fn format(attributes: &[Attribute]) -> Option<Format> {
    let attribute = attributes.iter().find(|a| a.path().is_ident("error"))?;
    attribute.parse_args().ok()
}

fn text(format: &Format) -> String {
    let mut arguments = format.arguments.iter();
    let value = format.text.value();
    let (mut text, mut rest) = (String::new(), value.as_str());
    while let Some((before, after)) = rest.split_once('{') {
        text += before;
        let (name, after) = after.split_once('}').unwrap();
        let name = name.split(':').next().unwrap();
        let name = match name {
            "" => name_of(arguments.next().unwrap()),
            "0" => "reason".to_owned(),
            _ => name.to_lowercase(),
        };
        text += &format!("{{{name}}}");
        rest = after;
    }
    text + rest
}

/// The field that an argument is made of: `pool` of `Size(*pool)`, and of `.pool.name()`.
fn name_of(argument: &TokenStream) -> String {
    let words = words(argument.clone());
    let after = |mark: &str| {
        let at = words.iter().position(|word| word == mark)?;
        words.get(at + 1).cloned()
    };
    let is_constant = words[0].chars().all(|c| c.is_uppercase() || c == '_');
    if is_constant && words[0] != "." {
        return words[0].to_lowercase();
    }
    let within = words.iter().position(|word| word == "(");
    after(".")
        .or_else(|| after("*"))
        .or_else(|| words.get(within? + 1).cloned())
        .unwrap_or_else(|| words[0].clone())
}

fn words(tokens: TokenStream) -> Vec<String> {
    let mut all = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(of) => {
                all.push("(".to_owned());
                all.extend(words(of.stream()));
            }
            other => all.push(other.to_string()),
        }
    }
    all
}
