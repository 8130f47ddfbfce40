"""From a trained network to a `.tflite`: open, cut, convert, quantise, write.

Every source becomes a float32 model first; fp16 and int8 are made from that one, so all
sources share one quantiser and one check. What is heavy is imported where it is used.
"""
