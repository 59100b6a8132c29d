namespace Hyperscope.Guard;

/// <summary>A policy cannot be used; the text names the place, the value and what is allowed.</summary>
public sealed class PolicyException : Exception
{
    /// <summary>A policy cannot be used.</summary>
    public PolicyException()
    {
    }

    /// <summary>A policy cannot be used.</summary>
    public PolicyException(string message)
        : base(message)
    {
    }

    /// <summary>A policy cannot be used.</summary>
    public PolicyException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
