namespace Hyperscope.Guard;

/// <summary>What becomes of a violation.</summary>
public enum Verdict
{
    /// <summary>It goes through this once, and is counted.</summary>
    Allow,

    /// <summary>It goes through this once, and evidence is written.</summary>
    Log,

    /// <summary>The instruction retires without its effect: memory and registers stay as they are.</summary>
    Discard,

    /// <summary>The guest goes on at another address.</summary>
    Redirect,

    /// <summary>The guest's instruction raises #GP.</summary>
    Exception,

    /// <summary>The vCPU stands still until somebody has looked.</summary>
    Pause,

    /// <summary>The VM ends.</summary>
    Crash,
}

/// <summary>Names of verdicts in policies and evidence.</summary>
public static class VerdictText
{
    /// <summary>As a policy writes it.</summary>
    public static string ToText(this Verdict verdict) => verdict switch
    {
        Verdict.Allow => "allow",
        Verdict.Log => "log",
        Verdict.Discard => "discard",
        Verdict.Redirect => "redirect",
        Verdict.Exception => "exception",
        Verdict.Pause => "pause",
        _ => "crash",
    };

    /// <summary>Reads what a policy writes.</summary>
    public static bool TryParse(string text, out Verdict verdict)
    {
        foreach (Verdict candidate in Enum.GetValues<Verdict>())
        {
            if (candidate.ToText() == text)
            {
                verdict = candidate;
                return true;
            }
        }

        verdict = default;
        return false;
    }
}
