// A head alone: 2,048 predictions of 1,024 numbers each, 151,936 words. What a trunk would give it is a parameter, so that its gradient is one, too.
func.func @forward(%input_ids: tensor<1x2049xi64> {rl.name = "input_ids"}) -> (tensor<1x2049x151936xf32> {rl.name = "logits"}) {
  %hidden = rl.parameter "hidden" trained : tensor<1x2049x1024xf32>
  %weight = rl.parameter "head.weight" trained : tensor<151936x1024xf32>
  %logits = nn.contract "bsh,vh->bsv" %hidden, %weight : tensor<1x2049x1024xf32>, tensor<151936x1024xf32> -> tensor<1x2049x151936xf32>
  return %logits : tensor<1x2049x151936xf32>
}
