#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use crossloom_ir::DType;
use crossloom_runtime::MappedFile;
use pmetal_gguf::{GgmlType, GgufBuilder, GgufContent};
use rten_onnx::onnx::{DataType, GraphProto, ModelProto, NodeProto, TensorProto};

use super::{gguf, onnx};

/// A small file of GGUF with metadata, words and tensors.
pub(crate) fn small_gguf() -> Vec<u8> {
    let mut builder = GgufBuilder::with_model("llama", "tiny");
    builder.add_string_array("tokenizer.ggml.tokens", vec!["a".into(), "bb".into()]);
    builder.add_f32_tensor("w", vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    builder.add_raw_tensor("q", vec![2, 32], GgmlType::Q4_1, vec![7; 40]);
    builder.build_to_bytes().unwrap()
}

fn tensor(name: &str, dims: &[i64], numbers: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        raw_data: Some(numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..TensorProto::default()
    }
}

fn node(kind: &str, name: &str, input: [&str; 2], output: &str) -> NodeProto {
    NodeProto {
        name: Some(name.to_owned()),
        op_type: Some(kind.to_owned()),
        input: input.map(str::to_owned).to_vec(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// A linear layer as an exporter writes it, and a constant that has no name.
pub(crate) fn small_onnx() -> Vec<u8> {
    let graph = GraphProto {
        node: vec![
            node("MatMul", "/a/query/MatMul", ["x", "onnx::MatMul_1"], "y"),
            node("Add", "/a/query/Add", ["a.query.bias", "y"], "z"),
            node("Concat", "/a/Concat_6", ["z", "onnx::Concat_2"], "out"),
        ],
        initializer: vec![
            tensor("a.query.bias", &[2], &[1.0, 2.0]),
            tensor("onnx::MatMul_1", &[3, 2], &[1.0; 6]),
            tensor("onnx::Concat_2", &[1, 1, 2], &[3.0, 4.0]),
        ],
        ..GraphProto::default()
    };
    ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().unwrap()
}

pub(crate) fn small_safetensors() -> Vec<u8> {
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &[0; 8]).unwrap();
    safetensors::serialize([("a", &view), ("b", &view)], None).unwrap()
}

#[test]
fn tensors_of_gguf_lie_where_its_header_says() {
    let bytes = small_gguf();
    let (header, metadata) = gguf::header(&bytes).unwrap();
    let w = &header["w"];
    assert_eq!((w.dtype.clone(), w.shape.as_slice()), (Ok(DType::F32), &[2, 3][..]));
    assert_eq!(bytes[w.range.clone()][20..], 6.0_f32.to_le_bytes());
    assert_eq!(header["q"].dtype, Ok(DType::Q4_1));
    assert_eq!(metadata["general.architecture"], "llama");
    assert_eq!(metadata["tokenizer.ggml.tokens"]["length"], 2);
}

#[test]
fn tensors_in_one_place_are_refused() {
    let bytes = small_gguf();
    let content = GgufContent::read(&mut std::io::Cursor::new(&bytes)).unwrap();
    let later = content.tensor_infos.values().map(|info| info.offset).max().unwrap();
    // The offset of the later one is written behind its type; it becomes 0.
    let at = (0..bytes.len() - 8).rev().find(|&at| bytes[at..at + 8] == later.to_le_bytes()).unwrap();
    let mut bytes = bytes;
    bytes[at..at + 8].fill(0);
    assert!(gguf::header(&bytes).unwrap_err().contains("in the same place"));
}

#[test]
fn nameless_tensors_of_onnx_are_called_by_what_reads_them() {
    let bytes = small_onnx();
    let header = onnx::header(&bytes).unwrap();
    let names: Vec<&str> = header.keys().map(String::as_str).collect();
    assert_eq!(names, ["a.Concat_6", "a.query.bias", "a.query.matmul"]);
    assert_eq!(header["a.query.matmul"].shape, [3, 2]);
    assert_eq!(bytes[header["a.Concat_6"].range.clone()][4..], 4.0_f32.to_le_bytes());
}

#[test]
fn lengths_that_reach_beyond_the_file_are_errors() {
    // A graph of almost as many bytes as there are numbers, and one of a few too many.
    for length in [vec![0xff_u8; 9].into_iter().chain([1]).collect::<Vec<u8>>(), vec![200, 1]] {
        let bytes = [&[7 << 3 | 2][..], &length, &[5 << 3 | 2, 3]].concat();
        assert!(onnx::header(&bytes).is_err());
    }
    // A number that goes on and on.
    assert!(onnx::header(&[0xff; 40]).is_err());
    let mut tensor = tensor("w", &[2], &[1.0, 2.0]);
    tensor.dims = vec![-1];
    let graph = GraphProto { initializer: vec![tensor], ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    assert!(onnx::header(&model.write_buf().unwrap()).unwrap_err().contains("has shape"));
}

/// What a file opens as, by its format.
fn open(path: &Path, format: usize) -> bool {
    match format {
        0 => MappedFile::open(path).is_ok(),
        1 => MappedFile::open_as(path, |bytes| gguf::header(bytes).map(|(header, _)| header)).is_ok(),
        _ => MappedFile::open_as(path, onnx::header).is_ok(),
    }
}

#[test]
fn whole_files_open_and_cut_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("file");
    for (format, bytes) in [small_safetensors(), small_gguf(), small_onnx()].into_iter().enumerate() {
        std::fs::write(&path, &bytes).unwrap();
        assert!(open(&path, format), "{format}");
        for length in [0, 3, bytes.len() / 3, bytes.len() / 2] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            // An empty message is a sound one, of a model without a graph.
            assert!(!open(&path, format), "{format} {length}");
        }
    }
}
