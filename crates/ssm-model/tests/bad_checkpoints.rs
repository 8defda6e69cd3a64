//! Messages for checkpoints that are damaged, hostile or another model's.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use hint::Hint;
use insta::assert_snapshot;
use safetensors::tensor::{Dtype, TensorView};
use ssm_model::{Checkpoint, CheckpointError, MixerConfig, ModelConfig, WeightSource};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const CONFIG: &str = r#"{"d_model": 4, "n_layer": 1, "vocab_size": 8}"#;

fn golden(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// A folder with [`CONFIG`] and these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// What opening says, with the folder's own name taken out.
fn refusal(folder: &TempDir) -> String {
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()));
    error.to_string().replace(&folder.path().display().to_string(), "FOLDER")
}

fn config_refusal(text: &str) -> String {
    ModelConfig::from_json(text).unwrap_err().to_string()
}

fn raw_safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn safetensors(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// What opening says of a folder, as [`refusal`], with the label and the hint.
fn told(files: &[(&str, &[u8])]) -> String {
    let folder = folder(files);
    let error = Checkpoint::open(folder.path()).unwrap_err();
    let text = format!("{}: {error}\nhint: {}", error.label(), error.hint().unwrap());
    text.replace(&folder.path().display().to_string(), "FOLDER")
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    archive_of(CompressionMethod::Stored, entries)
}

fn archive_of(method: CompressionMethod, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn pickle_refusal(program: &[u8]) -> String {
    refusal(&folder(&[("pytorch_model.bin", &archive(&[("model/data.pkl", program)]))]))
}

#[test]
fn folders() {
    let empty = tempfile::tempdir().unwrap();
    assert_snapshot!(refusal(&empty), @"FOLDER: no config.json");
    assert_snapshot!(refusal(&folder(&[])), @"FOLDER: no weights; looked for model.safetensors, model.safetensors.shuffled.zst, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json");
}

#[test]
fn safetensors_that_lie() {
    let open = |bytes: &[u8]| refusal(&folder(&[("model.safetensors", bytes)]));
    assert_snapshot!(open(b"short"), @"FOLDER/model.safetensors: 5 bytes are too few for a safetensors file");
    assert_snapshot!(open(&u64::MAX.to_le_bytes()), @"FOLDER/model.safetensors: a header of 18446744073709551615 bytes is announced in a file of 8");
    assert_snapshot!(open(&raw_safetensors("[]", 0)), @"FOLDER/model.safetensors: the header is not a JSON object");
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert_snapshot!(open(&raw_safetensors(twice, 4)), @"FOLDER/model.safetensors: the header cannot be read: `a` is there twice");
    assert_snapshot!(open(&raw_safetensors(r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#, 4)), @"FOLDER/model.safetensors: `a` is described wrongly: unknown variant `F99`, expected one of `BOOL`, `F4`, `F6_E2M3`, `F6_E3M2`, `U8`, `I8`, `F8_E5M2`, `F8_E4M3`, `F8_E8M0`, `F8_E4M3FNUZ`, `F8_E5M2FNUZ`, `I16`, `U16`, `F16`, `BF16`, `I32`, `U32`, `F32`, `C64`, `F64`, `I64`, `U64`");
    assert_snapshot!(open(&raw_safetensors(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4)), @"FOLDER/model.safetensors: `a` has shape [2] of F32, which bytes 0 to 4 do not hold");
    assert_snapshot!(open(&raw_safetensors(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4)), @"FOLDER/model.safetensors: `a` has shape [1] of F32, which bytes 4 to 0 do not hold");
    assert_snapshot!(open(&raw_safetensors(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4)), @"FOLDER/model.safetensors: `a` ends at byte 8 of 4");
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    assert_snapshot!(open(&raw_safetensors(overlap, 12)), @"FOLDER/model.safetensors: `b` begins at byte 4, but the tensor before it ends at 8");
    assert_snapshot!(open(&raw_safetensors(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 6)), @"FOLDER/model.safetensors: the tensors end at byte 4 of 6");
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#;
    assert_snapshot!(open(&raw_safetensors(huge, 4)), @"FOLDER/model.safetensors: `a` has shape [4294967296, 4294967296] of F32, which bytes 0 to 4 do not hold");

    let whole = fs::read(golden("mamba1/model.safetensors")).unwrap();
    let cut = open(&whole[..whole.len() - 1]);
    assert!(cut.contains("ends at byte"), "{cut}");
}

#[test]
fn a_dtype_without_floats() {
    let bytes = raw_safetensors(r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, 8);
    let mut checkpoint = Checkpoint::from_bytes(CONFIG, &bytes).unwrap();
    assert_snapshot!(checkpoint.weights.take("a", &[1]).unwrap_err(), @"<memory>: `a` has dtype I64, expected F32, F16, BF16 or F64");
}

#[test]
fn indexes() {
    let open = |index: &str, shards: &[(&str, &[u8])]| {
        let mut files = vec![("model.safetensors.index.json", index.as_bytes())];
        files.extend_from_slice(shards);
        refusal(&folder(&files))
    };
    assert_snapshot!(open(r#"{"weight_map": {"a": "../x.safetensors"}}"#, &[]), @"FOLDER/model.safetensors.index.json: shard `../x.safetensors` is not a plain file name beside the index");
    assert_snapshot!(open(r#"{"weight_map": {"a": "/etc/passwd"}}"#, &[]), @"FOLDER/model.safetensors.index.json: shard `/etc/passwd` is not a plain file name beside the index");
    assert_snapshot!(open(r#"{"weight_map": {"a": ".."}}"#, &[]), @"FOLDER/model.safetensors.index.json: shard `..` is not a plain file name beside the index");
    assert_snapshot!(open(r#"{"weight_map": {"a": "b\\x.safetensors"}}"#, &[]), @r#"FOLDER/model.safetensors.index.json: shard `b\x.safetensors` is not a plain file name beside the index"#);
    assert_snapshot!(open(r#"{"weight_map": {"a": "gone.safetensors"}}"#, &[]), @"FOLDER/gone.safetensors: No such file or directory (os error 2)");
    assert_snapshot!(open(r#"{"weights": {}}"#, &[]), @"FOLDER/model.safetensors.index.json: not an index of shards: missing field `weight_map`");
    let a = safetensors(&[("a", &[1], &[1.0])]);
    assert_snapshot!(open(r#"{"weight_map": {"b": "1.safetensors"}}"#, &[("1.safetensors", &a)]), @"FOLDER/model.safetensors.index.json: `b` should be in 1.safetensors, which does not hold it");
    assert_snapshot!(open(r#"{"weight_map": {"a": "1.safetensors", "a": "2.safetensors"}}"#, &[]), @"FOLDER/model.safetensors.index.json: not an index of shards: `a` is there twice");
    let more = safetensors(&[("a", &[1], &[1.0]), ("c", &[1], &[1.0])]);
    assert_snapshot!(open(r#"{"weight_map": {"a": "1.safetensors"}}"#, &[("1.safetensors", &more)]), @"FOLDER/model.safetensors.index.json: `c` is in 1.safetensors, but not in the index");
    let embeddings = safetensors(&[("a", &[1], &[1.0]), ("b", &[1], &[1.0])]);
    let twice = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    assert_snapshot!(open(twice, &[("1.safetensors", &a), ("2.safetensors", &embeddings)]), @"`a` is in FOLDER/1.safetensors and again in FOLDER/2.safetensors");
}

#[test]
fn shards_are_one_checkpoint() {
    let (a, b) = (safetensors(&[("a", &[1], &[1.0])]), safetensors(&[("b", &[2], &[2.0, 3.0])]));
    let index = br#"{"metadata": {}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    let folder = folder(&[("model.safetensors.index.json", index), ("1.safetensors", &a), ("2.safetensors", &b)]);
    let mut weights = Checkpoint::open(folder.path()).unwrap().weights;
    assert_eq!(weights.take("b", &[2]).unwrap().to_vec1::<f32>().unwrap(), [2.0, 3.0]);
    assert_eq!(weights.take("a", &[1]).unwrap().to_vec1::<f32>().unwrap(), [1.0]);
    weights.finish().unwrap();
}

#[test]
fn pickles_that_name_other_things_than_tensors() {
    // protocol 0: os.system("true"), called
    assert_snapshot!(pickle_refusal(b"cos\nsystem\n(X\x04\x00\x00\x00truetR."), @"FOLDER/pytorch_model.bin: the pickle refers to `os.system`, which is not part of a state dict of tensors");
    // protocol 4: the same through STACK_GLOBAL, also with the names recalled from the memo
    assert_snapshot!(pickle_refusal(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x8c\x04true\x85R."), @"FOLDER/pytorch_model.bin: the pickle refers to `posix.system`, which is not part of a state dict of tensors");
    assert_snapshot!(pickle_refusal(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93."), @"FOLDER/pytorch_model.bin: the pickle refers to `posix.system`, which is not part of a state dict of tensors");
    assert_snapshot!(pickle_refusal(b"\x80\x04NN\x93."), @"FOLDER/pytorch_model.bin: the pickle refers to `a name that is computed`, which is not part of a state dict of tensors");
    assert_snapshot!(pickle_refusal(b"(X\x04\x00\x00\x00trueios\nsystem\n."), @"FOLDER/pytorch_model.bin: the pickle refers to `os.system`, which is not part of a state dict of tensors");
    assert_snapshot!(pickle_refusal(b"\x80\x02\x82\x01."), @"FOLDER/pytorch_model.bin: the pickle refers to `Python's extension registry`, which is not part of a state dict of tensors");
    // an allowed module does not allow its other names
    assert_snapshot!(pickle_refusal(b"ctorch\nload\n."), @"FOLDER/pytorch_model.bin: the pickle refers to `torch.load`, which is not part of a state dict of tensors");
    // one that hides behind a whole state dict, as an attribute
    assert_snapshot!(pickle_refusal(b"\x80\x02}}X\x01\x00\x00\x00acbuiltins\neval\nsb."), @"FOLDER/pytorch_model.bin: the pickle refers to `builtins.eval`, which is not part of a state dict of tensors");
}

#[test]
fn pickles_that_are_broken() {
    for program in [&b""[..], b"\x80", b"c", b"cos", b"X\xff\xff\xff\xffa", b"R.", b"t.", b"h\x00.", b"q\x00."] {
        let text = pickle_refusal(program);
        assert!(text.starts_with("FOLDER/pytorch_model.bin: data.pkl: "), "{program:?}: {text}");
    }
    assert_snapshot!(pickle_refusal(b"]."), @"FOLDER/pytorch_model.bin: data.pkl: does not hold a dict of tensors");
    assert_snapshot!(pickle_refusal(b"}X\x01\x00\x00\x00aNs."), @r#"FOLDER/pytorch_model.bin: data.pkl: holds Text("a"), which is not a named tensor"#);
    assert_snapshot!(pickle_refusal(b"\x8a\x09\0\0\0\0\0\0\0\0\0."), @"FOLDER/pytorch_model.bin: data.pkl: holds a number of more than eight bytes");
    assert_snapshot!(pickle_refusal(b"}.}."), @"FOLDER/pytorch_model.bin: data.pkl: has bytes behind its end");
    assert_snapshot!(pickle_refusal(b"P."), @"FOLDER/pytorch_model.bin: data.pkl: has instruction 0x50, which a state dict does not need");
    // 64 doublings of a tuple cost 64 tuples, not 2^64 copies
    let bomb: Vec<u8> = [&b")"[..], &b"q\x00h\x00\x86".repeat(64), b"."].concat();
    assert_snapshot!(pickle_refusal(&bomb), @"FOLDER/pytorch_model.bin: data.pkl: does not hold a dict of tensors");
}

/// A state dict `{"a": tensor}` of one storage `0` of `elements` floats.
fn state_dict(elements: u8, offset: u8, shape: u8, stride: u8) -> Vec<u8> {
    let mut program = b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage".to_vec();
    program.extend(b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu");
    program.extend([b'K', elements, b't', b'Q', b'K', offset, b'K', shape, 0x85, b'K', stride, 0x85, 0x89]);
    program.extend(b"ccollections\nOrderedDict\n)RtRs.");
    program
}

fn storage_refusal(program: &[u8], storage: &[u8]) -> String {
    let bytes = archive(&[("model/data.pkl", program), ("model/data/0", storage)]);
    refusal(&folder(&[("pytorch_model.bin", &bytes)]))
}

#[test]
fn storages_that_do_not_hold_their_tensors() {
    assert_snapshot!(storage_refusal(&state_dict(4, 0, 4, 1), &[0; 12]), @"FOLDER/pytorch_model.bin: `a`: model/data/0 holds 12 bytes, 16 are announced");
    assert_snapshot!(storage_refusal(&state_dict(4, 2, 4, 1), &[0; 16]), @"FOLDER/pytorch_model.bin: data.pkl: has a tensor of shape [4] that storage 0 is too small for");
    assert_snapshot!(storage_refusal(&state_dict(4, 2, 2, 2), &[0; 16]), @"FOLDER/pytorch_model.bin: data.pkl: has a tensor of shape [2] that storage 0 is too small for");
    assert_snapshot!(storage_refusal(&state_dict(4, 0, 200, 0), &[0; 16]), @"FOLDER/pytorch_model.bin: data.pkl: has a tensor of shape [200] and stride [0], which repeats values");
    assert_snapshot!(pickle_refusal(&state_dict(4, 0, 4, 1)), @"FOLDER/pytorch_model.bin: `a`: model/data/0: specified file not found in archive");
}

/// `torch.save` of a transposed matrix, or of every other value of a vector, keeps the storage and notes the steps.
#[test]
fn strided_values_are_gathered() {
    let values: Vec<u8> = (1..=12_u8).map(f32::from).flat_map(f32::to_le_bytes).collect();
    let read = |program: &[u8], shape: &[usize]| {
        let bytes = archive(&[("model/data.pkl", program), ("model/data/0", &values)]);
        let folder = folder(&[("pytorch_model.bin", &bytes)]);
        let mut weights = Checkpoint::open(folder.path()).unwrap().weights;
        weights.take("a", shape).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(read(&state_dict(12, 1, 3, 2), &[3]), [2.0, 4.0, 6.0]);
    let matrix = |shape: [u8; 2], stride: [u8; 2]| {
        let [vector, tuples] = [
            state_dict(12, 1, 7, 9),
            [b'K', shape[0], b'K', shape[1], 0x86, b'K', stride[0], b'K', stride[1], 0x86].to_vec(),
        ];
        let old = [b'K', 7, 0x85, b'K', 9, 0x85];
        let at = vector.windows(6).position(|part| part == old).unwrap();
        [&vector[..at], &tuples, &vector[at + 6..]].concat()
    };
    assert_eq!(
        read(&matrix([3, 2], [1, 3]), &[3, 2]),
        [2.0, 5.0, 3.0, 6.0, 4.0, 7.0],
        "a matrix of two rows, transposed"
    );
    assert_eq!(read(&matrix([2, 2], [4, 2]), &[2, 2]), [2.0, 4.0, 6.0, 8.0], "a part of a larger one");
    assert_eq!(read(&matrix([2, 3], [3, 1]), &[2, 3]), [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn a_compressed_archive_holds_the_same_model() {
    let stored = fs::read(golden("mamba1/pytorch_model.bin")).unwrap();
    let mut reader = ZipArchive::new(Cursor::new(&stored)).unwrap();
    let mut entries = Vec::new();
    for index in 0..reader.len() {
        let mut entry = reader.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        entries.push((entry.name().unwrap().into_owned(), bytes));
    }
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let packed = archive_of(CompressionMethod::Deflated, &entries);
    assert!(packed.len() < stored.len());
    let digest = |bytes: &[u8]| {
        let folder = folder(&[("pytorch_model.bin", bytes)]);
        fs::copy(golden("mamba1/config.json"), folder.path().join("config.json")).unwrap();
        Checkpoint::open(folder.path()).unwrap().digest().unwrap()
    };
    assert_eq!(digest(&packed), digest(&stored));
    // A byte of the packed values that flips is noticed by the archive's own sum.
    let mut damaged = packed.clone();
    damaged[packed.len() / 2] ^= 1;
    let folder = folder(&[("pytorch_model.bin", &damaged)]);
    fs::copy(golden("mamba1/config.json"), folder.path().join("config.json")).unwrap();
    assert!(Checkpoint::open(folder.path()).and_then(|mut checkpoint| checkpoint.digest()).is_err());
}

/// What is whole and merely not read says so, and what to do.
#[test]
fn what_is_unsupported_is_not_called_damaged() {
    let bin = |bytes: &[u8]| told(&[("pytorch_model.bin", bytes)]);
    let old = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    assert_snapshot!(bin(old), @"
        unsupported model: FOLDER/pytorch_model.bin: the format of PyTorch before version 1.6, which is not a zip archive, is not read
        hint: load it with PyTorch, torch.load(FILE, weights_only=True), and save the state dict again: with safetensors, or with torch.save of version 1.6 or later
    ");
    assert_snapshot!(bin(b"\x80\x04\x95\x00\x00"), @"
        unsupported model: FOLDER/pytorch_model.bin: a pickle without the zip archive that PyTorch puts around it is not read
        hint: load it with PyTorch, torch.load(FILE, weights_only=True), and save the state dict again: with safetensors, or with torch.save of version 1.6 or later
    ");
    assert_snapshot!(bin(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"), @"
        incomplete model: FOLDER/pytorch_model.bin: this is a Git LFS pointer, not the file itself
        hint: `git lfs pull` in its repository puts the file there
    ");
    let index = br#"{"weight_map": {"a": "1.safetensors"}}"#;
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
    assert_snapshot!(told(&[("model.safetensors.index.json", index), ("1.safetensors", pointer)]), @"
        incomplete model: FOLDER/1.safetensors: this is a Git LFS pointer, not the file itself
        hint: `git lfs pull` in its repository puts the file there
    ");
    let integers = replaced(&state_dict(4, 0, 4, 1), b"FloatStorage", b"IntStorage");
    assert_snapshot!(bin(&archive(&[("model/data.pkl", &integers)])), @"
        unsupported model: FOLDER/pytorch_model.bin: data.pkl: holds values of IntStorage, which are not read
        hint: load it with PyTorch, torch.load(FILE, weights_only=True), and save the state dict again: with safetensors, or with torch.save of version 1.6 or later
    ");
    let sparse = replaced(&state_dict(4, 0, 4, 1), b"_rebuild_tensor_v2", b"_rebuild_sparse_tensor");
    assert_snapshot!(bin(&archive(&[("model/data.pkl", &sparse)])), @"
        unsupported model: FOLDER/pytorch_model.bin: data.pkl: holds a tensor made by _rebuild_sparse_tensor, which is not read
        hint: load it with PyTorch, torch.load(FILE, weights_only=True), and save the state dict again: with safetensors, or with torch.save of version 1.6 or later
    ");
    // Method 12, bzip2, in the header of the entry and in the directory.
    let mut packed = archive(&[("model/data.pkl", b"}.")]);
    let central = packed.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
    (packed[8], packed[central + 10]) = (12, 12);
    assert_snapshot!(bin(&packed), @"
        unsupported model: FOLDER/pytorch_model.bin: model/data.pkl is compressed in a way that is not read
        hint: pack the archive again, without compression or with deflate, or save a safetensors file
    ");
    assert_snapshot!(bin(b"PK\x03\x04 and not much more"), @"
        damaged model: FOLDER/pytorch_model.bin: not a readable zip archive: invalid Zip archive: Could not find EOCD
        hint: the file may be damaged or truncated; compare its size and hash with the published ones
    ");
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|part| part == old).unwrap();
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn a_part_of_a_storage_is_read() {
    let values: Vec<u8> = [1_f32, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let bytes = archive(&[("model/data.pkl", &state_dict(4, 1, 2, 1)), ("model/data/0", &values)]);
    let folder = folder(&[("pytorch_model.bin", &bytes)]);
    let mut weights = Checkpoint::open(folder.path()).unwrap().weights;
    assert_eq!(weights.take("a", &[2]).unwrap().to_vec1::<f32>().unwrap(), [2.0, 3.0]);
}

#[test]
fn archives() {
    let open = |bytes: &[u8]| refusal(&folder(&[("pytorch_model.bin", bytes)]));
    let whole = fs::read(golden("mamba1/pytorch_model.bin")).unwrap();
    assert_snapshot!(open(&whole[..whole.len() / 2]), @"FOLDER/pytorch_model.bin: not a readable zip archive: invalid Zip archive: Could not find EOCD");
    assert_snapshot!(open(&archive(&[("model/other", b"")])), @"FOLDER/pytorch_model.bin: 0 entries are called data.pkl, expected one");
    assert_snapshot!(open(&archive(&[("a/data.pkl", b"}."), ("b/data.pkl", b"}.")])), @"FOLDER/pytorch_model.bin: 2 entries are called data.pkl, expected one");
    assert_snapshot!(open(&archive(&[("a/data.pkl", b"}."), ("a/byteorder", b"big")])), @r#"FOLDER/pytorch_model.bin: byte order "big" is not supported"#);
}

#[test]
fn weights_that_do_not_fit_the_model() {
    let config = r#"{"d_model": 2, "n_layer": 1, "vocab_size": 1, "pad_vocab_size_multiple": 1}"#;
    let open =
        |tensors: &[(&str, &[usize], &[f32])]| Checkpoint::from_bytes(config, &safetensors(tensors)).unwrap().weights;
    let embedding: (&str, &[usize], &[f32]) = ("backbone.embeddings.weight", &[1, 2], &[1.0, 2.0]);

    let mut weights = open(&[embedding, ("backbone.norm_F.weight", &[2], &[1.0, 1.0])]);
    assert_snapshot!(weights.take("backbone.norm_f.weight", &[2]).unwrap_err(), @"no weight `backbone.norm_f.weight` (looked for `backbone.norm_f.weight`); the nearest name present is `backbone.norm_F.weight`");
    assert_snapshot!(weights.take("backbone.embedding.weight", &[2, 1]).unwrap_err(), @"weight `backbone.embeddings.weight` has shape [1, 2], expected [2, 1]");
    weights.take("backbone.embedding.weight", &[1, 2]).unwrap();
    assert_snapshot!(weights.take("backbone.embedding.weight", &[1, 2]).unwrap_err(), @"weight `backbone.embedding.weight` was taken twice");
    assert_snapshot!(weights.finish().unwrap_err(), @"weights that the model does not use: backbone.norm_F.weight");

    let mut headless = open(&[("lm_head.weight", &[1, 2], &[1.0, 2.0])]);
    assert_snapshot!(headless.take("backbone.embedding.weight", &[1, 2]).unwrap_err(), @"no weight `backbone.embedding.weight` (looked for `backbone.embedding.weight` or `backbone.embeddings.weight`); the nearest name present is `lm_head.weight`");

    let tied = |head: &[f32]| {
        let mut weights = open(&[embedding, ("lm_head.weight", &[1, 2], head)]);
        weights.take("backbone.embedding.weight", &[1, 2]).unwrap();
        weights.finish()
    };
    tied(&[1.0, 2.0]).unwrap();
    assert!(matches!(tied(&[1.0, 2.5]), Err(CheckpointError::UntiedHead)));
    let both = [embedding, ("backbone.embedding.weight", &[1, 2][..], &[1.0, 2.0][..])];
    assert_snapshot!(Checkpoint::from_bytes(config, &safetensors(&both)).unwrap_err(), @"`backbone.embedding.weight` is in <memory> and again in <memory>");
}

#[test]
fn a_state_dict_that_lacks_a_weight() {
    let bytes = archive(&[("model/data.pkl", &state_dict(1, 0, 1, 1)), ("model/data/0", &[0; 4])]);
    let folder = folder(&[("pytorch_model.bin", &bytes)]);
    let mut weights = Checkpoint::open(folder.path()).unwrap().weights;
    assert_snapshot!(weights.take("backbone.norm_f.weight", &[4]).unwrap_err(), @"no weight `backbone.norm_f.weight` (looked for `backbone.norm_f.weight`); the nearest name present is `a`");
}

#[test]
fn configs_of_mamba_ssm() {
    let with = |more: &str| config_refusal(&format!(r#"{{"d_model": 64, "n_layer": 2, "vocab_size": 8, {more}}}"#));
    assert_snapshot!(config_refusal("{\"d_model\": 4,"), @"not a JSON object: EOF while parsing a value at line 1 column 14");
    assert_snapshot!(config_refusal("[1]"), @"not a JSON object: the file holds another JSON value");
    assert_snapshot!(config_refusal(r#"{"hidden_size": 4}"#), @"neither `d_model` (mamba_ssm) nor `model_type` (transformers) is set; found hidden_size");
    assert_snapshot!(config_refusal(r#"{"d_model": 4, "vocab_size": 8}"#), @"`n_layer` is missing");
    assert_snapshot!(with(r#""rms_norm": false"#), @"`rms_norm` = false is not supported; supported: true");
    assert_snapshot!(with(r#""tie_embeddings": "yes""#), @r#"`tie_embeddings` must be true or false, got "yes""#);
    assert_snapshot!(with(r#""pad_vocab_size_multiple": 0"#), @"`pad_vocab_size_multiple` is 0");
    assert_snapshot!(with(r#""moe": 4"#), @"unknown setting `moe`");
    assert_snapshot!(with(r#""moe": 4, "ssm_cfg": {"headdim": 64, "gate": true}, "router": "top1""#), @"unknown settings `moe`, `router`, `ssm_cfg.gate`, `ssm_cfg.headdim`");
    assert_snapshot!(with(r#""tie_embeddings": true, "tie_embeddings": false"#), @"`tie_embeddings` is set twice");
    assert_snapshot!(with(r#""ssm_cfg": {"layer": "Mamba3"}"#), @r#"`ssm_cfg.layer` = "Mamba3" is not supported; supported: "Mamba1", "Mamba2""#);
    assert_snapshot!(with(r#""ssm_cfg": {"headdim": 64}"#), @"unknown setting `ssm_cfg.headdim`");
    assert_snapshot!(with(r#""ssm_cfg": {"layer": "Mamba2", "headdim": 48}"#), @"headdim is 48, which does not divide d_inner = 128");
    assert_snapshot!(with(r#""ssm_cfg": {"layer": "Mamba2", "D_has_hdim": true}"#), @"`ssm_cfg.D_has_hdim` = true is not supported; supported: false (one skip weight a head)");
    assert_snapshot!(with(r#""ssm_cfg": {"layer": "Mamba2", "d_ssm": 64}"#), @"`ssm_cfg.d_ssm` is 64, but expand * d_model (no MLP path in the mixer) is 128");
    assert_snapshot!(with(r#""ssm_cfg": {"layer": "Mamba2", "ngroups": 0}"#), @"ngroups is 0, expected 1 to 2");
    assert_snapshot!(with(r#""ssm_cfg": {"layer": "Mamba2", "dt_limit": [0.1, NaN]}"#), @"dt_limit is (0.1, NaN), expected 0 <= low < high");
    assert_snapshot!(with(r#""ssm_cfg": {"d_conv": 18446744073709551615}"#), @"d_conv is 18446744073709551615, expected 1 to 64");
}

#[test]
fn configs_of_mamba_ssm_with_attention() {
    let with = |more: &str| {
        let error = ModelConfig::from_json(&format!(
            r#"{{"d_model": 64, "n_layer": 2, "vocab_size": 8, "ssm_cfg": {{"layer": "Mamba2", "headdim": 16}}, {more}}}"#
        ))
        .unwrap_err();
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()));
        error.to_string()
    };
    let attention =
        |more: &str| with(&format!(r#""attn_layer_idx": [1], "attn_cfg": {{"causal": true, "num_heads": 4, {more}}}"#));
    assert_snapshot!(with(r#""attn_layer_idx": [3]"#), @"`attn_layer_idx` names layer 3, but `n_layer` is 2");
    assert_snapshot!(with(r#""attn_layer_idx": [1, 0, 1]"#), @"`attn_layer_idx` names layer 1 twice");
    assert_snapshot!(with(r#""attn_layer_idx": [-1]"#), @"`attn_layer_idx` must be a list of whole numbers, zero or more, got [-1]");
    assert_snapshot!(with(r#""attn_layer_idx": 1"#), @"`attn_layer_idx` must be a list of whole numbers, zero or more, got 1");
    assert_snapshot!(with(r#""attn_layer_idx": [1]"#), @"`attn_cfg.num_heads` is missing");
    assert_snapshot!(with(r#""attn_layer_idx": [1], "attn_cfg": {"num_heads": 4}"#), @"`attn_cfg.causal` = false (its default) is not supported; supported: true (a token sees itself and those before it)");
    assert_snapshot!(with(r#""attn_layer_idx": [1], "attn_cfg": {"num_heads": 5}"#), @"attn_cfg.num_heads is 5, which does not divide d_model = 64");
    assert_snapshot!(with(r#""attn_layer_idx": [1], "attn_cfg": {"num_heads": 0}"#), @"attn_cfg.num_heads is 0, expected 1 to 4096");
    assert_snapshot!(attention(r#""num_heads_kv": 3"#), @"attn_cfg.num_heads_kv is 3, which does not divide attn_cfg.num_heads = 4");
    assert_snapshot!(attention(r#""num_heads_kv": 8"#), @"attn_cfg.num_heads_kv is 8, expected 1 to 4");
    assert_snapshot!(attention(r#""head_dim": 0"#), @"attn_cfg.head_dim is 0, expected 1 to 4096");
    assert_snapshot!(attention(r#""d_conv": 3"#), @"`attn_cfg.d_conv` = 3 is not supported; supported: 0 (no convolution), 4");
    assert_snapshot!(attention(r#""rotary_emb_dim": 18"#), @"attn_cfg.rotary_emb_dim is 18, expected an even number of at most attn_cfg.head_dim = 16");
    assert_snapshot!(attention(r#""rotary_emb_dim": 3"#), @"attn_cfg.rotary_emb_dim is 3, expected an even number of at most attn_cfg.head_dim = 16");
    assert_snapshot!(attention(r#""rotary_emb_base": 0"#), @"attn_cfg.rotary_emb_base is 0, expected more than 1");
    assert_snapshot!(attention(r#""rotary_emb_interleaved": true"#), @"`attn_cfg.rotary_emb_interleaved` = true is not supported; supported: false (the halves of a head turn together)");
    assert_snapshot!(attention(r#""softmax_scale": 0.5"#), @"`attn_cfg.softmax_scale` = 0.5 is not supported; supported: null (scores are divided by the root of `head_dim`)");
    assert_snapshot!(attention(r#""mlp_dim": 18446744073709551615"#), @"attn_cfg.mlp_dim is 18446744073709551360, expected 0 to 2097152");
    assert_snapshot!(attention(r#""window": 8, "alibi": true"#), @"unknown settings `attn_cfg.alibi`, `attn_cfg.window`");
    assert_snapshot!(with(r#""d_intermediate": 18446744073709551615"#), @"d_intermediate is 18446744073709551615, expected 1 to 1048576");
    assert_snapshot!(with(r#""d_intermediate": true"#), @"`d_intermediate` must be a whole number, zero or more, got true");
}

#[test]
fn configs_of_transformers() {
    let with = |more: &str| {
        config_refusal(&format!(
            r#"{{"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 8, "state_size": 4, {more}}}"#
        ))
    };
    assert_snapshot!(config_refusal(r#"{"model_type": "llama"}"#), @r#"`model_type` = "llama" is not supported; supported: "mamba", "mamba2", "falcon_mamba", "gpt_neox", "granitemoehybrid", "bamba", "nemotron_h", "falcon_h1", "jamba", "zamba2""#);
    assert_snapshot!(config_refusal(r#"{"model_type": "mamba"}"#), @"`hidden_size` is missing");
    assert_snapshot!(with(r#""use_bias": true"#), @"`use_bias` = true is not supported; supported: false (no bias in the projections)");
    assert_snapshot!(with(r#""hidden_act": "gelu""#), @r#"`hidden_act` = "gelu" is not supported; supported: "silu""#);
    assert_snapshot!(with(r#""intermediate_size": 100"#), @"`intermediate_size` is 100, but expand * hidden_size is 128");
    assert_snapshot!(with(r#""head_dim": 16"#), @"unknown setting `head_dim`");
    assert_snapshot!(with(r#""time_step_rank": "many""#), @r#"`time_step_rank` must be a whole number or "auto", got "many""#);
    assert_snapshot!(with(r#""layer_norm_epsilon": 0"#), @"norm_eps is 0, expected between 0 and 1");
}

#[test]
fn configs_of_falcon_mamba() {
    const SIZES: &str =
        r#""model_type": "falcon_mamba", "hidden_size": 24, "num_hidden_layers": 2, "vocab_size": 8, "state_size": 5"#;
    let refusal = |more: &str| config_refusal(&format!("{{{SIZES}, {more}}}"));
    assert_snapshot!(refusal(r#""intermediate_size": 50"#), @"`intermediate_size` is 50, expected a multiple of hidden_size = 24");
    assert_snapshot!(refusal(r#""mixer_rms_eps": 0.0"#), @"mixer_rms_eps is 0, expected between 0 and 1");
    let other = SIZES.replace("falcon_mamba", "mamba");
    assert_snapshot!(config_refusal(&format!(r#"{{{other}, "mixer_rms_eps": 1e-6}}"#)), @"unknown setting `mixer_rms_eps`");
}

#[test]
fn configs_of_gpt_neox() {
    const SIZES: &str = r#""model_type": "gpt_neox", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 8, "num_attention_heads": 4, "intermediate_size": 256"#;
    let with = |more: &str| {
        let error = ModelConfig::from_json(&format!("{{{SIZES}, {more}}}")).unwrap_err();
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()));
        error.to_string()
    };
    assert_snapshot!(config_refusal(r#"{"model_type": "gpt_neox"}"#), @"`hidden_size` is missing");
    assert_snapshot!(with(r#""hidden_act": "relu""#), @r#"`hidden_act` = "relu" is not supported; supported: "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh""#);
    assert_snapshot!(with(r#""rope_scaling": {"type": "linear", "factor": 2.0}"#), @r#"`rope_scaling` = {"factor":2.0,"type":"linear"} is not supported; supported: null (positions are not stretched)"#);
    assert_snapshot!(with(r#""rope_parameters": {"rope_type": "yarn"}"#), @r#"`rope_parameters.rope_type` = "yarn" is not supported; supported: "default" (positions are not stretched)"#);
    assert_snapshot!(with(r#""rope_parameters": {"factor": 2}"#), @"unknown setting `rope_parameters.factor`");
    assert_snapshot!(with(r#""rotary_pct": 0.5, "rope_parameters": {"partial_rotary_factor": 0.25}"#), @"`rotary_pct` is 0.5, but the same setting elsewhere is 0.25");
    assert_snapshot!(with(r#""rotary_emb_base": 10000, "rope_theta": 500"#), @"`rope_theta` is 500, but the same setting elsewhere is 10000");
    assert_snapshot!(with(r#""rotary_pct": 1.5"#), @"`rotary_pct` (or `partial_rotary_factor`) is 1.5, expected between 0 and 1");
    assert_snapshot!(with(r#""rotary_pct": 0.2"#), @"rotary_pct turns 3 of the 16 channels of a head, expected an even number of at most all");
    assert_snapshot!(with(r#""rotary_emb_base": 0"#), @"rotary_emb_base is 0, expected more than 1");
    assert_snapshot!(with(r#""use_parallel_residual": "yes""#), @r#"`use_parallel_residual` must be true or false, got "yes""#);
    assert_snapshot!(with(r#""num_key_value_heads": 1"#), @"unknown setting `num_key_value_heads`");
    let heads = SIZES.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 5");
    assert_snapshot!(config_refusal(&format!("{{{heads}}}")), @"num_attention_heads is 5, which does not divide hidden_size = 64");
    let heads = SIZES.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 0");
    assert_snapshot!(config_refusal(&format!("{{{heads}}}")), @"num_attention_heads is 0, expected 1 to 64");
}

/// What transformers and other tools write in addition to the sizes, in every dialect.
#[test]
fn settings_that_change_nothing_are_passed_over() {
    const MORE: &str = r#""architectures": ["X"], "torch_dtype": "float16", "dtype": "bfloat16", "auto_map": {"AutoConfig": "a.B"},
        "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "_attn_implementation_autoset": true, "num_logits_to_keep": 1,
        "return_dict": true, "max_position_embeddings": 2048, "output_attentions": false, "is_encoder_decoder": false, "pruned_heads": {},
        "do_sample": true, "temperature": 0.7, "max_length": 20, "forced_eos_token_id": null, "sep_token_id": 3, "problem_type": "regression",
        "transformers_version": "4.57.6", "from_the_future": null, "quantization_config": null"#;
    let transformers = r#""hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 8"#;
    for sizes in [
        r#""d_model": 64, "n_layer": 2, "vocab_size": 8, "ssm_cfg": {"layer": "Mamba2", "from_the_future": null}"#
            .to_owned(),
        format!(r#""model_type": "mamba", {transformers}, "state_size": 4"#),
        format!(r#""model_type": "falcon_mamba", {transformers}, "state_size": 4"#),
        format!(r#""model_type": "mamba2", {transformers}, "state_size": 4, "n_groups": 1"#),
        format!(r#""model_type": "gpt_neox", {transformers}, "num_attention_heads": 4, "intermediate_size": 256"#),
    ] {
        let plain = ModelConfig::from_json(&format!("{{{sizes}}}")).unwrap();
        assert_eq!(ModelConfig::from_json(&format!("{{{sizes}, {MORE}}}")).unwrap(), plain, "{sizes}");
        assert_eq!(ModelConfig::from_json(&format!("\u{feff}{{{sizes}}}")).unwrap(), plain, "a byte-order mark");
        let quantised = format!(r#"{{{sizes}, "quantization_config": {{"bits": 4}}}}"#);
        let refusal = config_refusal(&quantised);
        assert!(refusal.starts_with(r#"`quantization_config` = {"bits":4} is not supported"#), "{refusal}");
    }
}

#[test]
fn a_limit_may_be_infinite_in_every_way_that_is_written() {
    for infinity in ["Infinity", "\"Infinity\"", "{\"__float__\": \"Infinity\"}"] {
        let text = format!(
            r#"{{"model_type": "mamba2", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 8, "state_size": 4, "n_groups": 1, "time_step_limit": [0.0, {infinity}]}}"#
        );
        let config = ModelConfig::from_json(&text).unwrap();
        let MixerConfig::Mamba2(mixer) = &config.layers[0].mixer else { panic!("{text}") };
        assert_eq!(mixer.dt_limit, (0.0, f32::INFINITY));
    }
}

/// `config.json` of `EleutherAI/pythia-70m` as published, which older versions of transformers wrote.
#[test]
fn a_published_pythia() {
    let config = ModelConfig::from_json(
        r#"{"architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu", "hidden_size": 512,
            "initializer_range": 0.02, "intermediate_size": 2048, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
            "model_type": "gpt_neox", "num_attention_heads": 8, "num_hidden_layers": 6, "rotary_emb_base": 10000, "rotary_pct": 0.25,
            "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": true,
            "use_parallel_residual": true, "vocab_size": 50304}"#,
    )
    .unwrap();
    assert_eq!((config.n_layer(), config.tie_embeddings, config.parameters()), (6, false, 70_426_624));
    assert_snapshot!(format!("{:?}", config.layers[0]), @"LayerConfig { norm: Layer, mixer: Attention(AttentionConfig { heads: 8, rotary_dim: 16, rotary_base: 10000.0, bias: true }), beside: None, shared: None, mlp: Some(MlpConfig { width: 2048, activation: Gelu(Exact), residual: Parallel, gate_factor: 1.0, output_factor: 1.0 }) }");
}

#[test]
fn upstream_defaults() {
    let mamba =
        ModelConfig::from_json(r#"{"d_model": 776, "n_layer": 1, "vocab_size": 50277, "ssm_cfg": {}}"#).unwrap();
    assert_eq!(mamba.vocab_size, 50280);
    assert_snapshot!(format!("{:?}", mamba.layers[0].mixer), @"Mamba(MambaConfig { d_state: 16, d_conv: 4, expand: 2, dt_rank: 49, conv_bias: true, inner_norms: None })");
    let text = r#"{"d_model": 768, "n_layer": 1, "vocab_size": 50277, "pad_vocab_size_multiple": 16, "ssm_cfg": {"layer": "Mamba2"}}"#;
    let mamba2 = ModelConfig::from_json(text).unwrap();
    let in_proj = mamba2.weights().into_iter().find(|weight| weight.name.ends_with("in_proj.weight")).unwrap();
    assert_eq!((mamba2.vocab_size, mamba2.layers[0].dt_width(768), in_proj.shape), (50288, 24, vec![3352, 768]));
    assert_snapshot!(format!("{:?}", mamba2.layers[0].mixer), @"Mamba2(Mamba2Config { d_state: 128, d_conv: 4, d_inner: 1536, headdim: 64, ngroups: 1, norm_groups: 1, norm_before_gate: false, norm: true, norm_eps: None, dt_limit: (0.0, inf), conv_bias: true, in_bias: false, out_bias: false, factors: Mamba2Factors { input: 1.0, projected: [1.0, 1.0, 1.0, 1.0, 1.0], output: 1.0 } })");
}
