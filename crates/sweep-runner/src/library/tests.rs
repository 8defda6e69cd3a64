use super::*;

#[test]
fn a_forgotten_scheme_is_told() {
    let hint = |reference: &str| without_scheme(reference).unwrap_or_default();
    assert_eq!(hint("mamba2-world"), "did you mean `builtin:mamba2-world`?");
    assert_eq!(hint("mamba2-wrold"), "did you mean `builtin:mamba2-world`?");
    let published = "did you mean `hub:state-spaces/mamba2-130m`, or `random:mamba2-130m`?";
    assert_eq!(hint("state-spaces/mamba2-130m@main"), published);
    assert_eq!(hint("mamba2-130m"), published);
    assert_eq!(hint("someone/thing"), "no such folder; write `hub:someone/thing` for a repository of the hub");
    for folder in ["./a/b", "~/models", "/models/thing", "a/b/c"] {
        assert_eq!(hint(folder), "", "{folder}");
    }
}

#[test]
fn a_part_of_a_task_is_told() {
    let task = TaskRef { source: "lambada".to_owned(), cut: None };
    let error = Library::new().task(&task, Prompting::default()).unwrap_err();
    assert_eq!(error.hint.unwrap(), "did you mean `world_lambada` or `lambada_openai`?");
}
