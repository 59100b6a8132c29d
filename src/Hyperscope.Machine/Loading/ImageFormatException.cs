namespace Hyperscope.Machine;

/// <summary>An image is damaged or of an unsupported kind. The message names the field, its value and its bound.</summary>
public sealed class ImageFormatException : Exception
{
    /// <summary>Without a message.</summary>
    public ImageFormatException()
    {
    }

    /// <summary>With a message for people.</summary>
    public ImageFormatException(string message)
        : base(message)
    {
    }

    /// <summary>With what a decompressor said.</summary>
    public ImageFormatException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
