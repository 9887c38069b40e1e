#ifndef GRAFT_NN_OPS
#define GRAFT_NN_OPS

include "dialects/nn/NNDialect.td"

//===-- Element-wise functions that math lacks --------------------------------------------------------------------===//

class ElementwiseOp<string mnemonic> : NNOp<mnemonic, [SameOperandsAndResultType]> {
  let arguments = (ins FloatTensor:$input);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($result)";
}

def SigmoidOp : ElementwiseOp<"sigmoid"> {
  let summary = "logistic function";
  let description = [{
    `1 / (1 + exp(-x))`, without overflow for any x; NaN stays NaN. Gradient: `g y (1 - y)`.
    Example: `%y = nn.sigmoid %x : tensor<2x3xf32>`
  }];
}

def SoftplusOp : ElementwiseOp<"softplus"> {
  let summary = "smooth rectifier";
  let description = [{
    `log(1 + exp(x))`, computed as `max(x, 0) + log1p(exp(-|x|))`. Gradient: `g sigmoid(x)`.
    Example: `%y = nn.softplus %x : tensor<2x3xf32>`
  }];
}

//===-- Shape -----------------------------------------------------------------------------------------------------===//

def BroadcastOp : NNOp<"broadcast"> {
  let summary = "repeat along new dimensions";
  let description = [{
    Result element at index j is the input's element at (j[dimensions[0]], j[dimensions[1]], ...).
    1. `dimensions` has one entry per input dimension, strictly increasing, within the result's rank.
    2. Input dimension i equals result dimension dimensions[i]: nothing of size 1 is stretched.
    3. Element types are equal.
    Example: `%y = nn.broadcast %w dims = [2] : tensor<8xf32> -> tensor<2x3x8xf32>`
  }];
  let arguments = (ins NNTensor:$input, DenseI64ArrayAttr:$dimensions);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$input `dims` `=` $dimensions attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def ReshapeOp : NNOp<"reshape"> {
  let summary = "same elements, other shape";
  let description = [{
    Row-major order of the elements is kept.
    1. Input and result have the same number of elements.
    2. Element types are equal.
    Example: `%y = nn.reshape %x : tensor<2x12xf32> -> tensor<2x3x4xf32>`
  }];
  let arguments = (ins NNTensor:$input);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def TransposeOp : NNOp<"transpose", [InferTypeOpAdaptor]> {
  let summary = "permute dimensions";
  let description = [{
    Result dimension i is input dimension permutation[i].
    1. `permutation` is a permutation of the input's dimensions.
    Example: `%y = nn.transpose %x perm = [0, 2, 1] : tensor<2x3x4xf32> -> tensor<2x4x3xf32>`
  }];
  let arguments = (ins NNTensor:$input, DenseI64ArrayAttr:$permutation);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$input `perm` `=` $permutation attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def SliceOp : NNOp<"slice"> {
  let summary = "a box out of a tensor";
  let description = [{
    Result element at index j is the input's element at `starts[i] + j[i] * steps[i]` in each dimension i; the size is the result's shape.
    1. `starts` and `steps` have one entry per dimension; input and result have the same rank.
    2. Every start is at least 0, every step at least 1.
    3. The last element read lies inside the input.
    4. Element types are equal.
    Example: `%y = nn.slice %x starts = [0, 1] steps = [1, 2] : tensor<2x8xf32> -> tensor<2x3xf32>`
  }];
  let arguments = (ins NNTensor:$input, DenseI64ArrayAttr:$starts, DenseI64ArrayAttr:$steps);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$input `starts` `=` $starts `steps` `=` $steps attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def PadOp : NNOp<"pad"> {
  let summary = "surround and space out with zeros";
  let description = [{
    The input's element at index j lands at `starts[i] + j[i] * steps[i]`; everything else is 0 (false). It is the adjoint of `nn.slice`.
    1. `starts` and `steps` have one entry per dimension; input and result have the same rank.
    2. Every start is at least 0, every step at least 1.
    3. The last element written lies inside the result.
    4. Element types are equal.
    Example: `%y = nn.pad %x starts = [0, 1] steps = [1, 1] : tensor<2x3xf32> -> tensor<2x8xf32>`
  }];
  let arguments = (ins NNTensor:$input, DenseI64ArrayAttr:$starts, DenseI64ArrayAttr:$steps);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$input `starts` `=` $starts `steps` `=` $steps attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def ConcatOp : NNOp<"concat"> {
  let summary = "tensors one after the other along a dimension";
  let description = [{
    1. At least one input; all have the result's rank and element type.
    2. `axis` is a dimension of the result.
    3. Sizes agree in every other dimension; along `axis` they add up to the result's.
    Example: `%y = nn.concat %a, %b axis = 1 : tensor<2x3xf32>, tensor<2x1xf32> -> tensor<2x4xf32>`
  }];
  let arguments = (ins Variadic<NNTensor>:$inputs, I64Attr:$axis);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$inputs `axis` `=` $axis attr-dict `:` type($inputs) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def IotaOp : NNOp<"iota"> {
  let summary = "the index along a dimension";
  let description = [{
    1. `axis` is a dimension of the result.
    Example: `%i = nn.iota axis = 1 : tensor<2x8xi64>`
  }];
  let arguments = (ins I64Attr:$axis);
  let results = (outs AnyTypeOf<[FloatTensor, IntegerTensor]>:$result);
  let assemblyFormat = "`axis` `=` $axis attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===-- Reductions and scans --------------------------------------------------------------------------------------===//

def ReduceOp : NNOp<"reduce", [InferTypeOpAdaptor]> {
  let summary = "combine elements along dimensions";
  let description = [{
    The reduced dimensions disappear. Of nothing: sum 0, prod 1; max and min of nothing are refused. Max and min return NaN if an
    element is NaN; on booleans max is "any", min is "all". Gradient of max and min goes to the extreme elements in equal shares.
    1. `axes` are strictly increasing dimensions of the input.
    2. Max and min do not reduce a dimension of size 0.
    3. Booleans are only reduced with max and min.
    Example: `%s = nn.reduce sum %x axes = [1] : tensor<2x3xf32> -> tensor<2xf32>`
  }];
  let arguments = (ins ReduceKindAttr:$kind, NNTensor:$input, DenseI64ArrayAttr:$axes);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$kind $input `axes` `=` $axes attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def CumsumOp : NNOp<"cumsum", [SameOperandsAndResultType]> {
  let summary = "running sum along a dimension";
  let description = [{
    `exclusive`: the element itself is not in its sum; `reverse`: sums run from the end.
    1. `axis` is a dimension of the input.
    Example: `%s = nn.cumsum %x axis = 1 : tensor<2x3xi64>`
  }];
  let arguments = (ins AnyTypeOf<[FloatTensor, IntegerTensor]>:$input, I64Attr:$axis, UnitAttr:$exclusive, UnitAttr:$reverse);
  let results = (outs AnyTypeOf<[FloatTensor, IntegerTensor]>:$result);
  let assemblyFormat = "$input `axis` `=` $axis (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def SoftmaxOp : NNOp<"softmax"> {
  let summary = "softmax along a dimension, optionally masked";
  let description = [{
    `y = exp(x - max x) / sum exp(x - max x)` over the elements whose `mask` is true; masked elements are exactly 0 whatever their
    input holds, and a row without any true element is all 0. Gradient: `y (g - sum(g y))`.
    1. `axis` is a dimension of the input.
    2. The mask has the input's shape.
    3. The result has the input's type.
    Example: `%p = nn.softmax %s mask %m axis = 3 : tensor<1x2x4x4xf32>, tensor<1x2x4x4xi1> -> tensor<1x2x4x4xf32>`
  }];
  let arguments = (ins FloatTensor:$input, Optional<BooleanTensor>:$mask, I64Attr:$axis);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$input (`mask` $mask^)? `axis` `=` $axis attr-dict `:` type($input) (`,` type($mask)^)? `->` type($result)";
  let hasVerifier = 1;
}

def LogSoftmaxOp : NNOp<"log_softmax", [SameOperandsAndResultType]> {
  let summary = "logarithm of the softmax along a dimension";
  let description = [{
    `x - max x - log(sum exp(x - max x))`. Gradient: `g - exp(y) sum(g)`.
    1. `axis` is a dimension of the input.
    Example: `%l = nn.log_softmax %x axis = 1 : tensor<2x3xf32>`
  }];
  let arguments = (ins FloatTensor:$input, I64Attr:$axis);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$input `axis` `=` $axis attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===-- Products --------------------------------------------------------------------------------------------------===//

def ContractOp : NNOp<"contract"> {
  let summary = "einsum of two tensors";
  let description = [{
    `equation` names the dimensions of both inputs and of the result with letters, as einsum does: `"bsk,nk->bsn"`. Letters that the
    result lacks are summed over. The letters are the operator's factors: its gradient, FLOPs and sharding are read off them, and any
    checkpoint layout, transposition, or head grouping of a matrix product is an equation, not a copy.
    1. The equation is `letters,letters->letters`, one letter per dimension.
    2. No letter occurs twice in one tensor.
    3. A letter has the same size everywhere.
    4. Every letter of the result occurs in an input, and every letter that the result lacks occurs in both.
    5. Element types of the inputs are equal. The result's is theirs, or f32 for inputs of bf16: products are summed in f32.
    Example: `%y = nn.contract "bsk,nk->bsn" %x, %w : tensor<2x3x8xf32>, tensor<5x8xf32> -> tensor<2x3x5xf32>`
  }];
  let arguments = (ins StrAttr:$equation, FloatTensor:$lhs, FloatTensor:$rhs);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$equation $lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The three parts of the equation: labels of lhs, of rhs, of the result.
    ::std::array<::llvm::StringRef, 3> getLabels();
  }];
}

//===-- Indexing --------------------------------------------------------------------------------------------------===//

def GatherOp : NNOp<"gather"> {
  let summary = "take slices by index";
  let description = [{
    Shape: data[:axis] + indices + data[axis+1:]; an index lies in [0, n). Adjoint: `nn.scatter_add`.
    1. `axis` is a dimension of the data.
    2. The result has that shape and the data's element type.
    Example: `%e = nn.gather %table, %ids axis = 0 : tensor<50x8xf32>, tensor<2x3xi64> -> tensor<2x3x8xf32>`
  }];
  let arguments = (ins NNTensor:$data, IntegerTensor:$indices, I64Attr:$axis);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$data `,` $indices `axis` `=` $axis attr-dict `:` type($data) `,` type($indices) `->` type($result)";
  let hasVerifier = 1;
}

def ScatterAddOp : NNOp<"scatter_add"> {
  let summary = "add slices into zeros by index";
  let description = [{
    The adjoint of `nn.gather`: the result starts as zeros, and each slice of `updates` is added at its index along `axis`.
    1. `axis` is a dimension of the result.
    2. Updates have the shape result[:axis] + indices + result[axis+1:] and the result's element type.
    Example: `%g = nn.scatter_add %u, %ids axis = 0 : tensor<2x3x8xf32>, tensor<2x3xi64> -> tensor<50x8xf32>`
  }];
  let arguments = (ins AnyTypeOf<[FloatTensor, IntegerTensor]>:$updates, IntegerTensor:$indices, I64Attr:$axis);
  let results = (outs AnyTypeOf<[FloatTensor, IntegerTensor]>:$result);
  let assemblyFormat = "$updates `,` $indices `axis` `=` $axis attr-dict `:` type($updates) `,` type($indices) `->` type($result)";
  let hasVerifier = 1;
}

def GatherElementsOp : NNOp<"gather_elements"> {
  let summary = "pick one element per position along a dimension";
  let description = [{
    `result[..., j, ...] = data[..., indices[..., j, ...], ...]` along `axis`.
    1. `axis` is a dimension of the data.
    2. Indices and result have one shape, which equals the data's in every dimension but `axis`.
    3. The result has the data's element type.
    Example: `%p = nn.gather_elements %x, %i axis = 1 : tensor<2x9xf32>, tensor<2x1xi64> -> tensor<2x1xf32>`
  }];
  let arguments = (ins NNTensor:$data, IntegerTensor:$indices, I64Attr:$axis);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$data `,` $indices `axis` `=` $axis attr-dict `:` type($data) `,` type($indices) `->` type($result)";
  let hasVerifier = 1;
}

def ScatterElementsAddOp : NNOp<"scatter_elements_add"> {
  let summary = "add elements into zeros by index";
  let description = [{
    The adjoint of `nn.gather_elements`: `result[..., indices[..., j, ...], ...] += updates[..., j, ...]` along `axis`.
    1. `axis` is a dimension of the result.
    2. Indices and updates have one shape, which equals the result's in every dimension but `axis`.
    3. The result has the updates' element type.
    Example: `%g = nn.scatter_elements_add %u, %i axis = 1 : tensor<2x1xf32>, tensor<2x1xi64> -> tensor<2x9xf32>`
  }];
  let arguments = (ins AnyTypeOf<[FloatTensor, IntegerTensor]>:$updates, IntegerTensor:$indices, I64Attr:$axis);
  let results = (outs AnyTypeOf<[FloatTensor, IntegerTensor]>:$result);
  let assemblyFormat = "$updates `,` $indices `axis` `=` $axis attr-dict `:` type($updates) `,` type($indices) `->` type($result)";
  let hasVerifier = 1;
}

//===-- Norms, rotary embedding, attention ------------------------------------------------------------------------===//

class NormOp<string mnemonic> : NNOp<mnemonic, [SameOperandsAndResultType]> {
  let arguments = (ins FloatTensor:$input, F64Attr:$epsilon);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$input `epsilon` `=` $epsilon attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def RMSNormOp : NormOp<"rms_norm"> {
  let summary = "divide rows by their root mean square";
  let description = [{
    `y = x r`, `r = 1 / sqrt(mean(x^2) + epsilon)` over the last dimension (Zhang and Sennrich 2019, without the weight, which is a product of its own).
    Gradient: `r (g - y mean(g y))`.
    1. The input has at least one dimension and the last is not empty.
    2. `epsilon` is finite and not negative.
    Example: `%y = nn.rms_norm %x epsilon = 1.0e-5 : tensor<2x3x8xf32>`
  }];
}

def LayerNormOp : NormOp<"layer_norm"> {
  let summary = "shift rows to mean 0, scale them to variance 1";
  let description = [{
    `y = (x - mean(x)) r`, `r = 1 / sqrt(mean((x - mean(x))^2) + epsilon)` over the last dimension (Ba et al. 2016, without weight and bias).
    Gradient: `r (g - mean(g) - y mean(g y))`.
    1. The input has at least one dimension and the last is not empty.
    2. `epsilon` is finite and not negative.
    Example: `%y = nn.layer_norm %x epsilon = 1.0e-5 : tensor<2x3x8xf32>`
  }];
}

def RopeOp : NNOp<"rope"> {
  let summary = "rotary position embedding";
  let description = [{
    Rotates pairs of the last dimension D by the angle whose cosine and sine are given per pair (Su et al. 2021). Halves: pair i is
    (x[i], x[i + D/2]); `interleaved`: (x[2i], x[2i+1]). `y1 = x1 cos - x2 sin`, `y2 = x2 cos + x1 sin`. Gradient: rotation by the opposite angle.
    1. D is even; `cos` and `sin` have the input's shape with D/2 as the last dimension.
    2. All types have one element type; the result has the input's type.
    Example: `%y = nn.rope %x, %c, %s : tensor<2x3x8xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32> -> tensor<2x3x8xf32>`
  }];
  let arguments = (ins FloatTensor:$input, FloatTensor:$cos, FloatTensor:$sin, UnitAttr:$interleaved);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$input `,` $cos `,` $sin (`interleaved` $interleaved^)? attr-dict `:` type($input) `,` type($cos) `,` type($sin) `->` type($result)";
  let hasVerifier = 1;
}

// One value per row of the query: its shape without the last dimension.
class RowOf<string row, string tensor>
    : TypesMatchWith<row # " must have the shape of " # tensor # " without the last dimension", tensor, row, "::graft::nn::rowType($_self)">;

def AttentionOp : NNOp<"attention", [AttrSizedOperandSegments, RowOf<"lse", "query">]> {
  let summary = "scaled dot-product attention with grouped heads";
  let description = [{
    `softmax(softcap(scale q k^T) + bias, where allowed) v`, query head h reading key head `h / (Hq / Hkv)`.
    Shapes: q [B, Hq, S, D], k [B, Hkv, T, D], v [B, Hkv, T, E], result [B, Hq, S, E]. Query position i may read key position j when all of these hold:
    `causal`: j <= i + T - S; `window` w > 0: j > i + T - S - w (with `causal`), abs(i + T - S - j) < w (without);
    `key_valid` [B, T]: true at (b, j); `segments` [B, T] (S = T): equal at i and j, or [B, 2, T]: that of row 0 at j equals that of row 0 or of row 1
    at i. So row 1 names, for each query, a segment that it reads besides its own (its own: none), which is how completions in one packed row share
    a prompt. A query that may read nothing gives 0.
    `lse` [B, Hq, S] is the log of the sum of the exponentials of the scores (-inf where there are none): the gradient reads it; it has none.
    `bias` [B, Hq, S, T] is added after the soft-cap `c tanh(x / c)` (`softcap` 0: none).
    1. Ranks and sizes agree as above; Hkv divides Hq.
    2. `window` and `softcap` are not negative; `scale` is finite.
    3. Element types of q, k, v, bias and result are equal.
    Example:
    `%o, %lse = nn.attention %q, %k, %v valid %m {causal, scale = 1.250000e-01 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x3xi1>) -> tensor<1x4x3x8xf32>`
  }];
  let arguments = (ins FloatTensor:$query, FloatTensor:$key, FloatTensor:$value, Optional<BooleanTensor>:$key_valid, Optional<IntegerTensor>:$segments,
      Optional<FloatTensor>:$bias, F64Attr:$scale, UnitAttr:$causal, DefaultValuedAttr<I64Attr, "0">:$window, DefaultValuedAttr<F64Attr, "0.0">:$softcap);
  let results = (outs FloatTensor:$result, FloatTensor:$lse);
  let assemblyFormat = [{
    $query `,` $key `,` $value (`valid` $key_valid^)? (`segments` $segments^)? (`bias` $bias^)? attr-dict `:`
    custom<AttentionTypes>(type($query), type($key), type($value), type($key_valid), type($segments), type($bias), type($result), type($lse))
  }];
  let hasVerifier = 1;
}

def AttentionGradientOp : NNOp<"attention_gradient", [AttrSizedOperandSegments, RowOf<"lse", "query">, AllTypesMatch<["query", "dquery"]>,
    AllTypesMatch<["key", "dkey"]>, AllTypesMatch<["value", "dvalue"]>, AllTypesMatch<["output", "cotangent"]>]> {
  let summary = "gradients of attention's query, key and value";
  let description = [{
    The vector-Jacobian product of `nn.attention` without bias (Dao et al. 2022, appendix B): of its operands, its result `output`, its
    `lse` and the cotangent of the result. Operands and attributes are those of `nn.attention`, whose rules hold (`segments` [B, T] or [B, 2, T]
    among them). Has no gradient itself.
    Example:
    `%dq, %dk, %dv = nn.attention_gradient %q, %k, %v, %o, %n, %g {causal, scale = 1.250000e-01 : f64} : tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x4x3x8xf32>`
  }];
  let arguments = (ins FloatTensor:$query, FloatTensor:$key, FloatTensor:$value, FloatTensor:$output, FloatTensor:$lse, FloatTensor:$cotangent,
      Optional<BooleanTensor>:$key_valid, Optional<IntegerTensor>:$segments, F64Attr:$scale, UnitAttr:$causal,
      DefaultValuedAttr<I64Attr, "0">:$window, DefaultValuedAttr<F64Attr, "0.0">:$softcap);
  let results = (outs FloatTensor:$dquery, FloatTensor:$dkey, FloatTensor:$dvalue);
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $output `,` $lse `,` $cotangent (`valid` $key_valid^)? (`segments` $segments^)? attr-dict `:`
    type($query) `,` type($key) `,` type($value) `,` type($output) (`,` type($key_valid)^)? (`segments` type($segments)^)?
  }];
}

#endif
