//! ONNX: the initializers of a graph, which lie in the file as they are.
//!
//! `rten-onnx` reads the fields of messages. What is asked of it here, and how deep, is this module's: a graph's nodes by what they
//! read and write, and its tensors, but no attributes, in which graphs may lie within graphs. [`Source`] lets no length reach
//! further than the file does, and knows when a message was cut.
//!
//! An exporter names the weights that modules have, but folds others: a linear layer's matrix is turned and is called
//! `onnx::MatMul_1966`. Such a matrix gets the name of the bias that is added behind it, `….query.matmul`, and any other tensor
//! without a name the one of the node that reads it, `backbone.embeddings.Concat_6`.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use crossloom_ir::DType;
use crossloom_runtime::{Header, Located};
use rten_onnx::onnx::DataType;
use rten_onnx::protobuf::{DecodeMessage, ErrorKind, FieldTypes, Fields, ProtobufError, ReadValue};

/// What names begin with that an exporter made up.
const NAMELESS: &str = "onnx::";

/// Reads the graph of a file.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, String> {
    let mut source = Source::new(bytes);
    let model = Model::decode_fields(Fields::new(&mut source, None)).map_err(|e| e.to_string())?;
    // The file ends once, behind the outermost message. Where it ends sooner, each message that it cuts asks for more.
    if source.at != bytes.len() || source.ends != 1 {
        return Err(format!("is cut at byte {}", source.at));
    }
    let Graph { nodes, tensors } = model.graph.ok_or("has no graph")?;
    let names = names(&nodes);
    let mut header = Header::new();
    for tensor in &tensors {
        let name = names.get(tensor.name.as_str()).unwrap_or(&tensor.name).clone();
        let located = tensor.located(bytes).map_err(|problem| format!("tensor `{name}` {problem}"))?;
        if header.insert(name.clone(), located).is_some() {
            return Err(format!("has two tensors `{name}`"));
        }
    }
    Ok(header)
}

/// Names for the tensors that have none.
fn names(nodes: &[Node]) -> BTreeMap<&str, String> {
    // Who adds a bias to what.
    let mut biases = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.kind == "Add") {
        if let [a, b] = node.inputs.as_slice() {
            for (bias, to) in [(a, b), (b, a)] {
                if let Some(module) = bias.strip_suffix(".bias") {
                    biases.insert(to.as_str(), module);
                }
            }
        }
    }
    let mut names = BTreeMap::new();
    for node in nodes {
        let module = node.outputs.first().and_then(|output| biases.get(output.as_str()));
        let name = match module {
            Some(module) if node.kind == "MatMul" => format!("{module}.matmul"),
            _ => node.name.trim_matches('/').replace('/', "."),
        };
        for input in node.inputs.iter().filter(|input| input.starts_with(NAMELESS)) {
            names.entry(input.as_str()).or_insert_with(|| name.clone());
        }
    }
    names
}

#[derive(Default)]
struct Model<'a> {
    graph: Option<Graph<'a>>,
}

#[derive(Default)]
struct Graph<'a> {
    nodes: Vec<Node>,
    tensors: Vec<Tensor<'a>>,
}

/// A node: what it is called, does, reads and writes.
#[derive(Default)]
struct Node {
    name: String,
    kind: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

#[derive(Default)]
struct Tensor<'a> {
    name: String,
    dims: Vec<i64>,
    kind: i32,
    bytes: Option<&'a [u8]>,
    /// Whether the numbers are somewhere else than in `bytes`.
    elsewhere: bool,
}

impl Tensor<'_> {
    fn located(&self, file: &[u8]) -> Result<Located, String> {
        let extents = self.dims.iter().map(|&extent| usize::try_from(extent));
        let shape =
            extents.collect::<Result<Vec<_>, _>>().map_err(|_| format!("has shape {:?}", self.dims))?;
        let range = match self.bytes {
            _ if self.elsewhere => return Err("has its numbers in another form than as bytes".to_owned()),
            None => 0..0,
            Some(bytes) => {
                let start = bytes.as_ptr().addr() - file.as_ptr().addr();
                start..start + bytes.len()
            }
        };
        let kind = DataType(self.kind);
        let dtype = match kind {
            DataType::FLOAT => Ok(DType::F32),
            DataType::FLOAT16 => Ok(DType::F16),
            DataType::BFLOAT16 => Ok(DType::Bf16),
            DataType::INT32 => Ok(DType::I32),
            DataType::UINT8 => Ok(DType::U8),
            other => Err(other.to_string().to_lowercase()),
        };
        Ok(Located { dtype, shape, range })
    }
}

impl<'a> DecodeMessage for Model<'a> {
    type Types = Slices<'a>;

    fn decode_fields<R: ReadValue<Types = Slices<'a>>>(
        mut fields: Fields<'_, R>,
    ) -> Result<Self, ProtobufError> {
        let mut model = Self::default();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                7 => model.graph = Some(Graph::decode_field(&mut field)?),
                _ => field.skip()?,
            }
        }
        Ok(model)
    }
}

impl<'a> DecodeMessage for Graph<'a> {
    type Types = Slices<'a>;

    fn decode_fields<R: ReadValue<Types = Slices<'a>>>(
        mut fields: Fields<'_, R>,
    ) -> Result<Self, ProtobufError> {
        let mut graph = Self::default();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                1 => graph.nodes.push(NodeOf::decode_field(&mut field)?.0),
                5 => graph.tensors.push(Tensor::decode_field(&mut field)?),
                _ => field.skip()?,
            }
        }
        Ok(graph)
    }
}

/// A node that is read from slices of that life.
struct NodeOf<'a>(Node, PhantomData<&'a ()>);

impl<'a> DecodeMessage for NodeOf<'a> {
    type Types = Slices<'a>;

    fn decode_fields<R: ReadValue<Types = Slices<'a>>>(
        mut fields: Fields<'_, R>,
    ) -> Result<Self, ProtobufError> {
        let mut node = Node::default();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                1 => node.inputs.push(field.read_string()?),
                2 => node.outputs.push(field.read_string()?),
                3 => node.name = field.read_string()?,
                4 => node.kind = field.read_string()?,
                _ => field.skip()?,
            }
        }
        Ok(Self(node, PhantomData))
    }
}

impl<'a> DecodeMessage for Tensor<'a> {
    type Types = Slices<'a>;

    fn decode_fields<R: ReadValue<Types = Slices<'a>>>(
        mut fields: Fields<'_, R>,
    ) -> Result<Self, ProtobufError> {
        let mut tensor = Self::default();
        while let Some(mut field) = fields.next()? {
            match field.number() {
                1 => {
                    // One extent, or all of them in a row of bytes.
                    let packed = matches!(field.value(), rten_onnx::protobuf::FieldValue::Len(_));
                    if packed {
                        let bytes = field.read_bytes()?;
                        let mut source = Source::new(bytes);
                        while source.at < bytes.len() {
                            tensor.dims.push(source.read_varint()? as i64);
                        }
                    } else {
                        tensor.dims.push(field.get_int64()?);
                    }
                }
                2 => tensor.kind = field.get_enum()?,
                8 => tensor.name = field.read_string()?,
                9 => tensor.bytes = Some(field.read_bytes()?),
                // Numbers one by one, and numbers in other files.
                4 | 5 | 6 | 7 | 10 | 11 | 13 => {
                    tensor.elsewhere = true;
                    field.skip()?;
                }
                _ => field.skip()?,
            }
        }
        Ok(tensor)
    }
}

/// Strings of their own, and bytes where they lie.
struct Slices<'a>(PhantomData<&'a ()>);

impl<'a> FieldTypes for Slices<'a> {
    type String = String;
    type Bytes = &'a [u8];
}

/// The bytes of a message.
struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How often a number was asked for behind the last byte.
    ends: usize,
}

impl<'a> Source<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, ends: 0 }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ProtobufError> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len));
        let taken = taken.ok_or_else(|| ProtobufError::new(ErrorKind::Eof))?;
        self.at += len;
        Ok(taken)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let word = self.take(N)?.first_chunk();
        word.copied().ok_or_else(|| ProtobufError::new(ErrorKind::Eof))
    }
}

impl<'a> ReadValue for Source<'a> {
    type Types = Slices<'a>;

    fn read_i32(&mut self) -> Result<i32, ProtobufError> {
        self.word().map(i32::from_le_bytes)
    }

    fn read_i64(&mut self) -> Result<i64, ProtobufError> {
        self.word().map(i64::from_le_bytes)
    }

    /// A number of seven bits a byte; what is beyond half of its range, so a negative one, is just beyond it. As a length that is too
    /// long, and no sum of it and a place overflows. (The crate's own `read_varint` never ends where ten bytes go on.)
    fn read_varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for index in 0..10 {
            let Some(&byte) = self.bytes.get(self.at + index) else {
                self.ends += 1;
                return Err(ProtobufError::new(ErrorKind::Eof));
            };
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value.min(1 << 63));
            }
        }
        Err(ProtobufError::new(ErrorKind::InvalidVarint))
    }

    fn read_bytes(&mut self, len: usize) -> Result<&'a [u8], ProtobufError> {
        self.take(len)
    }

    fn read_string(&mut self, len: usize) -> Result<String, ProtobufError> {
        let text = std::str::from_utf8(self.take(len)?);
        text.map(str::to_owned).map_err(|_| ProtobufError::new(ErrorKind::InvalidUtf8))
    }

    fn skip(&mut self, len: usize) -> Result<(), ProtobufError> {
        self.take(len).map(|_| ())
    }

    fn position(&self) -> u64 {
        self.at as u64
    }
}
