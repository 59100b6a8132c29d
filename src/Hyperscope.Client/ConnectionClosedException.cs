namespace Hyperscope.Client;

/// <summary>The connection to the VM has ended, so the command is not carried out or its fate is unknown.</summary>
/// <param name="message">What was lost.</param>
/// <param name="innerException">Why the connection ended; <see langword="null"/> when one side simply closed it.</param>
public sealed class ConnectionClosedException(string message, Exception? innerException = null) : IOException(message, innerException);
