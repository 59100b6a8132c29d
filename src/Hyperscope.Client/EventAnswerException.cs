namespace Hyperscope.Client;

/// <summary>How an event was not answered properly.</summary>
public enum EventAnswerProblem
{
    /// <summary>It has an answer already.</summary>
    AnsweredTwice,

    /// <summary>Its handler has returned and the event is gone, or the connection has.</summary>
    TooLate,

    /// <summary>The handler or loop was done with it and had not answered.</summary>
    NotAnswered,

    /// <summary>It does not accept this action.</summary>
    ActionNotAccepted,
}

/// <summary>A tool answered an event twice, late, not at all, or with an action that the event does not accept.</summary>
/// <param name="problem">Which of these.</param>
/// <param name="message">Names the event.</param>
public sealed class EventAnswerException(EventAnswerProblem problem, string message) : InvalidOperationException(message)
{
    /// <summary>What is wrong.</summary>
    public EventAnswerProblem Problem { get; } = problem;
}
