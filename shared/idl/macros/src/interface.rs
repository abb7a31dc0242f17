//! Reads a trait as an interface.

use proc_macro2::Ident;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, ItemTrait, Lit, Pat, PathArguments,
    ReceiverKind, Result, ReturnType, Safety, TraitItem, TraitItemFn, Type,
};

/// Capabilities in a message, as `phi_abi::MESSAGE_GRANTS`.
const GRANTS: usize = 4;

/// The attribute of a method that may be called again.
const IDEMPOTENT: &str = "idempotent";

/// Bytes in a message, as `phi_abi::MESSAGE_BYTES`.
const BYTES: usize = 64;

/// A trait whose methods can all be called in a message.
pub struct Interface {
    /// The trait as written.
    pub item: ItemTrait,
    /// Its methods; a method's place is its label.
    pub methods: Vec<Method>,
}

/// One method.
pub struct Method {
    /// What its documentation says.
    pub documentation: Vec<Attribute>,
    /// Its name.
    pub name: Ident,
    /// Its parameters after `self`.
    pub parameters: Vec<Parameter>,
    /// What it returns when it succeeds.
    pub answer: Answer,
    /// What it returns when it fails.
    pub error: Type,
    /// Whether it may be called again when nobody knows whether it was done.
    pub idempotent: bool,
}

/// One parameter.
pub struct Parameter {
    /// Its name.
    pub name: Ident,
    /// How it travels.
    pub role: Role,
}

/// How a parameter travels.
pub enum Role {
    /// Not at all: ΦCore tells the server.
    Caller,
    /// In the message's bytes.
    Inline(Box<Type>),
    /// As a loan for reading.
    Lent,
    /// As a loan for reading and writing.
    LentMut,
    /// As a capability that is given away.
    Capability,
}

/// How an answer travels.
pub enum Answer {
    /// In the message's bytes.
    Inline(Box<Type>),
    /// As a capability that is given away.
    Capability,
}

impl Interface {
    /// Reads a trait; the error names everything that cannot travel in a message.
    pub fn read(mut item: ItemTrait) -> Result<Interface> {
        let mut problems = Vec::new();
        if !item.generics.params.is_empty() {
            problems.push(Error::new_spanned(&item.generics, "an interface has no generics"));
        }
        if let Some(token) = &item.unsafety {
            problems.push(Error::new_spanned(token, "an interface is not unsafe"));
        }
        let mut methods = Vec::new();
        for member in &item.items {
            match member {
                TraitItem::Fn(function) => match Method::read(function) {
                    Ok(method) => methods.push(method),
                    Err(problem) => problems.push(problem),
                },
                other => problems.push(Error::new_spanned(other, "an interface has methods only")),
            }
        }
        match problems.into_iter().reduce(|mut all, problem| {
            all.combine(problem);
            all
        }) {
            Some(problem) => Err(problem),
            None => {
                // It is for the stubs alone.
                for member in &mut item.items {
                    if let TraitItem::Fn(function) = member {
                        function.attrs.retain(|attribute| !attribute.path().is_ident(IDEMPOTENT));
                    }
                }
                Ok(Interface { item, methods })
            }
        }
    }
}

impl Method {
    fn read(function: &TraitItemFn) -> Result<Method> {
        let signature = &function.sig;
        let problem = |message| Err(Error::new_spanned(signature, message));
        if !signature.generics.params.is_empty() {
            return problem("a method of an interface has no generics");
        }
        if signature.asyncness.is_some() || !matches!(signature.safety, Safety::Default) {
            return problem("a method of an interface is neither async nor unsafe");
        }
        if let Some(body) = &function.default {
            return Err(Error::new_spanned(body, "a method of an interface has no body"));
        }
        let mut inputs = signature.inputs.iter();
        let by_reference = match inputs.next() {
            Some(FnArg::Receiver(receiver)) => {
                matches!(receiver.kind, ReceiverKind::Reference(_, _, Some(_)))
            }
            _ => false,
        };
        if !by_reference {
            return problem("a method of an interface takes `&mut self` first");
        }
        let parameters = inputs.map(Parameter::read).collect::<Result<Vec<Parameter>>>()?;
        let (answer, error) = read_answer(&signature.output, signature)?;
        let method = Method {
            documentation: function
                .attrs
                .iter()
                .filter(|attribute| attribute.path().is_ident("doc"))
                .cloned()
                .collect(),
            name: signature.ident.clone(),
            parameters,
            answer,
            error,
            idempotent: function
                .attrs
                .iter()
                .any(|attribute| attribute.path().is_ident(IDEMPOTENT)),
        };
        method.check(signature)?;
        Ok(method)
    }

    /// Whether a call and its answers fit into messages, as far as the types tell.
    fn check(&self, place: &impl quote::ToTokens) -> Result<()> {
        let grants = self
            .parameters
            .iter()
            .filter(|parameter| {
                matches!(parameter.role, Role::Lent | Role::LentMut | Role::Capability)
            })
            .count();
        if grants > GRANTS {
            let message =
                format!("{grants} loans and capabilities, but a message carries {GRANTS} at most");
            return Err(Error::new_spanned(place, message));
        }
        let once =
            |parameter: &Parameter| matches!(parameter.role, Role::LentMut | Role::Capability);
        if self.idempotent && self.parameters.iter().any(once) {
            let message = "an idempotent method gives no capabilities away and lends for reading \
                           only: a second call would have nothing left to give";
            return Err(Error::new_spanned(place, message));
        }
        let arguments: usize = self
            .parameters
            .iter()
            .filter_map(|parameter| match &parameter.role {
                Role::Inline(kind) => fixed_size(kind),
                _ => None,
            })
            .sum();
        let answer = match &self.answer {
            Answer::Inline(kind) => fixed_size(kind).unwrap_or(0),
            Answer::Capability => 0,
        };
        for (what, size) in [("arguments", arguments), ("answer", answer)] {
            if size > BYTES {
                let message = format!(
                    "the {what} may take {size} bytes, but a message carries {BYTES} at most: \
                     use a loan"
                );
                return Err(Error::new_spanned(place, message));
            }
        }
        Ok(())
    }
}

impl Parameter {
    fn read(argument: &FnArg) -> Result<Parameter> {
        let FnArg::Typed(typed) = argument else {
            return Err(Error::new_spanned(argument, "`self` comes first"));
        };
        let Pat::Ident(name) = &*typed.pat else {
            return Err(Error::new_spanned(&typed.pat, "a parameter of an interface has a name"));
        };
        let role = match last_name(&typed.ty).as_deref() {
            Some("Caller") => Role::Caller,
            Some("Lent") => Role::Lent,
            Some("LentMut") => Role::LentMut,
            Some("Capability") => Role::Capability,
            _ => {
                check_inline(&typed.ty)?;
                Role::Inline(typed.ty.clone())
            }
        };
        Ok(Parameter { name: name.ident.clone(), role })
    }
}

/// The name at the end of a path type.
fn last_name(kind: &Type) -> Option<String> {
    let Type::Path(path) = kind else { return None };
    Some(path.path.segments.last()?.ident.to_string())
}

/// Refuses types that no message may carry.
fn check_inline(kind: &Type) -> Result<()> {
    let message = match kind {
        Type::Reference(reference) if reference.mutability.is_some() => {
            "a message carries no mutable references: lend the bytes as `LentMut`"
        }
        Type::ImplTrait(_) | Type::TraitObject(_) | Type::FnPtr(_) | Type::Ptr(_) => {
            "a message carries values only: no `impl`, `dyn`, functions or pointers"
        }
        Type::Path(_) => match last_name(kind).as_deref() {
            // A hostile length in front of an owned sequence would allocate on the server's heap.
            Some("Vec" | "String" | "Box" | "BTreeMap" | "BTreeSet" | "HashMap" | "HashSet") => {
                "a message carries no owned sequences: use `&str`, `&[u8]`, an array, or lend the \
                 bytes as `Lent`"
            }
            Some("usize" | "isize") => {
                "the size of this type depends on the machine: use `u64` or `i64`"
            }
            _ => return Ok(()),
        },
        Type::Reference(_) | Type::Tuple(_) | Type::Array(_) => return Ok(()),
        _ => "a message cannot carry this type",
    };
    Err(Error::new(kind.span(), message))
}

/// Reads `-> Result<Answer, Error>`.
fn read_answer(output: &ReturnType, place: &impl quote::ToTokens) -> Result<(Answer, Type)> {
    let problem =
        || Error::new_spanned(place, "a method of an interface returns `Result<ANSWER, ERROR>`");
    let ReturnType::Type(_, kind) = output else { return Err(problem()) };
    let Type::Path(path) = &**kind else { return Err(problem()) };
    let last = path.path.segments.last().filter(|last| last.ident == "Result");
    let Some(PathArguments::AngleBracketed(list)) = last.map(|last| &last.arguments) else {
        return Err(problem());
    };
    let kinds: Vec<&Type> = list
        .args
        .iter()
        .filter_map(|argument| match argument {
            GenericArgument::Type(kind) => Some(kind),
            _ => None,
        })
        .collect();
    let [answer, error] = kinds[..] else { return Err(problem()) };
    for kind in [answer, error] {
        if let Type::Reference(reference) = kind {
            return Err(Error::new_spanned(reference, "an answer borrows nothing"));
        }
        check_inline(kind)?;
    }
    let answer = match last_name(answer).as_deref() {
        Some("Capability") => Answer::Capability,
        Some("Caller" | "Lent" | "LentMut") => {
            return Err(Error::new_spanned(answer, "an answer lends nothing"));
        }
        _ => Answer::Inline(Box::new(answer.clone())),
    };
    Ok((answer, error.clone()))
}

/// Bytes that a value may take in a message, where the type alone tells.
fn fixed_size(kind: &Type) -> Option<usize> {
    match kind {
        Type::Tuple(tuple) => tuple.elems.iter().map(fixed_size).sum(),
        Type::Array(array) => {
            let Expr::Lit(length) = &array.len else { return None };
            let Lit::Int(length) = &length.lit else { return None };
            fixed_size(&array.elem)?.checked_mul(length.base10_parse().ok()?)
        }
        Type::Path(_) => Some(match last_name(kind)?.as_str() {
            "bool" | "u8" | "i8" => 1,
            "u16" | "i16" => 3,
            "f32" => 4,
            "u32" | "i32" | "char" => 5,
            "f64" => 8,
            "u64" | "i64" => 10,
            "u128" | "i128" => 19,
            _ => return None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let item = syn::parse_str(text).expect("a trait");
        match Interface::read(item) {
            Ok(_) => String::new(),
            Err(error) => {
                error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("; ")
            }
        }
    }

    #[test]
    fn good_interfaces_are_read() {
        let text = "trait I {
            fn a(&mut self);
        }";
        assert_eq!(refusal(text), "a method of an interface returns `Result<ANSWER, ERROR>`");
        let text = "trait I {
            fn a(&mut self, caller: Caller, text: &str, n: (u8, [u64; 4]), b: Lent<'_>,
                 c: phi_idl::LentMut<'_>, d: Capability) -> Result<Capability, E>;
            fn b(&mut self) -> core::result::Result<(), E>;
            #[idempotent]
            fn c(&mut self, text: &str, b: Lent<'_>) -> Result<u8, E>;
        }";
        assert_eq!(refusal(text), "");
    }

    #[test]
    fn what_cannot_travel_is_refused() {
        for (method, message) in [
            ("fn a(self) -> Result<(), E>", "takes `&mut self` first"),
            ("fn a(&self) -> Result<(), E>", "takes `&mut self` first"),
            ("fn a() -> Result<(), E>", "takes `&mut self` first"),
            ("fn a<T>(&mut self, x: T) -> Result<(), E>", "has no generics"),
            ("async fn a(&mut self) -> Result<(), E>", "neither async nor unsafe"),
            ("fn a(&mut self) -> Result<(), E> { Ok(()) }", "has no body"),
            ("fn a(&mut self) -> u32", "returns `Result<ANSWER, ERROR>`"),
            ("fn a(&mut self) -> Result<u32>", "returns `Result<ANSWER, ERROR>`"),
            ("fn a(&mut self) -> Result<&str, E>", "an answer borrows nothing"),
            ("fn a(&mut self) -> Result<Lent<'_>, E>", "an answer lends nothing"),
            ("fn a(&mut self, x: &mut [u8]) -> Result<(), E>", "no mutable references"),
            ("fn a(&mut self, x: Vec<u8>) -> Result<(), E>", "no owned sequences"),
            ("fn a(&mut self, x: alloc::string::String) -> Result<(), E>", "no owned sequences"),
            ("fn a(&mut self, x: impl Copy) -> Result<(), E>", "values only"),
            ("fn a(&mut self, x: *const u8) -> Result<(), E>", "values only"),
            ("fn a(&mut self, x: usize) -> Result<(), E>", "use `u64` or `i64`"),
            ("fn a(&mut self, (x, y): (u8, u8)) -> Result<(), E>", "has a name"),
            (
                "fn a(&mut self, a: Lent, b: Lent, c: Lent, d: Lent, e: Capability) -> Result<(), E>",
                "5 loans and capabilities, but a message carries 4 at most",
            ),
            (
                "fn a(&mut self, a: [u64; 6], b: u32) -> Result<(), E>",
                "the arguments may take 65 bytes, but a message carries 64 at most",
            ),
            ("fn a(&mut self) -> Result<[u128; 4], E>", "the answer may take 76 bytes"),
            ("#[idempotent] fn a(&mut self, b: LentMut<'_>) -> Result<(), E>", "for reading only"),
            ("#[idempotent] fn a(&mut self, b: Capability) -> Result<(), E>", "for reading only"),
            ("const A: u8", "has methods only"),
        ] {
            let body = if method.ends_with('}') { "" } else { ";" };
            let problem = refusal(&format!("trait I {{ {method}{body} }}"));
            assert!(problem.contains(message), "{method}: {problem}");
        }
        assert_eq!(refusal("trait I<T> {}"), "an interface has no generics");
        assert_eq!(refusal("unsafe trait I {}"), "an interface is not unsafe");
    }

    #[test]
    fn every_problem_is_named() {
        let text = "trait I { fn a(&self) -> Result<(), E>; fn b(&mut self); }";
        assert_eq!(refusal(text).split("; ").count(), 2);
    }
}
