//! What the shipped files are: the BLAKE3 digest of each when it was packed (`b3sum`). A file that is packed anew gets a new line here.

/// File below `shipped`, and its digest.
pub(super) static DIGESTS: &[(&str, &str)] = &[
    ("books-tasks/books_cloze.jsonl.bz2", "ed21a84f89979e19b5e70eae8e9e49b6dd8393651070248933c6c0235ab08059"),
    ("books-tasks/books_control.jsonl.bz2", "81bf08ea5f51c5b57056c0b7e60cb2c982ed330da87e78212c57f485895551ff"),
    ("books-tasks/books_lastword.jsonl.bz2", "13a00dc83fb26e14541986151e8b1d82c5b50ef3b917285cce589f22f1ab7f3d"),
    ("books-tasks/books_long.jsonl.bz2", "f9c915de3798ddea8c5cddc10173a6b084d25497337ce59f92cb22c085e9eba2"),
    ("books-tasks/books_next.jsonl.bz2", "4d68fcf914516829c8eedb057a9cc918a0aa0514b9c64fa551986e8f8407482f"),
    ("books-tasks/books_text.jsonl.bz2", "fe88ef6faeb1020caf762e01d0af8f0f9bf8172aee2a1fc539b215543fc0392e"),
    ("hybrid-books/config.json", "e44db3d4d5ee9cac93ca52f1b92c2b06094559f97c826f00832639d2586dd984"),
    ("hybrid-books/model.safetensors.shuffled.zst", "753ffb702eaa63684de4a94a35037f5f026b65df1e55819b605c58d9e87e4d48"),
    ("hybrid-books/tokenizer.json", "59b9b9708cd762a93fef7fe893a081ef45727a55d635d6cfc4542acaa096e261"),
    ("hybrid-books/tokenizer_config.json", "9edc319abb68c88c91b80453d9f95efbf85d055818f76cc4f67573ae9b64a63e"),
    ("mamba-books/config.json", "0f0cb50813820a2b2951dfba54562e03a0bd756d3902e42abe8f38aa960a3fb9"),
    ("mamba-books/model.safetensors.shuffled.zst", "8b1d0092e58577a13702ab1f5580ba4f2255478cf81823985ffadc3065d82752"),
    ("mamba-books/tokenizer.json", "59b9b9708cd762a93fef7fe893a081ef45727a55d635d6cfc4542acaa096e261"),
    ("mamba-books/tokenizer_config.json", "9edc319abb68c88c91b80453d9f95efbf85d055818f76cc4f67573ae9b64a63e"),
    ("mamba2-books/config.json", "43716627d8e90dc8ecfdf7a73ce3f7a8421eb41688301dce70c9ef672de91e7c"),
    ("mamba2-books/model.safetensors.shuffled.zst", "a46b3398e20167c2c683d76275aa253695d898c6d37d8c2e6d7d5d672d05e264"),
    ("mamba2-books/tokenizer.json", "59b9b9708cd762a93fef7fe893a081ef45727a55d635d6cfc4542acaa096e261"),
    ("mamba2-books/tokenizer_config.json", "9edc319abb68c88c91b80453d9f95efbf85d055818f76cc4f67573ae9b64a63e"),
    ("neox-books/config.json", "af6a839103a3b04238f3c986925a10ba628630061bdc1f83354d9beb67852a00"),
    ("neox-books/model.safetensors.shuffled.zst", "30a36efdfd1294d03a6452380d7302048dd4e0f5f57c04c1b19b840bc9fa6ed7"),
    ("neox-books/tokenizer.json", "59b9b9708cd762a93fef7fe893a081ef45727a55d635d6cfc4542acaa096e261"),
    ("neox-books/tokenizer_config.json", "9edc319abb68c88c91b80453d9f95efbf85d055818f76cc4f67573ae9b64a63e"),
];
