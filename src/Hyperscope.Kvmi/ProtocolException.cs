namespace Hyperscope.Kvmi;

/// <summary>A peer broke the framing or mismatched a reply. The connection it came from closes; the VM runs on.</summary>
/// <param name="message">Names the thing, its value and the bound.</param>
/// <param name="innerException">What lies behind it, if anything.</param>
public sealed class ProtocolException(string message, Exception? innerException = null) : IOException(message, innerException);
